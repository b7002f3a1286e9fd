"""What goes into a training run and what comes out of it. Light: the command line imports it for its flags."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["HeldOutMetrics", "PairAccounting", "RewardTrainingConfig", "RewardTrainingResult"]
__all__ += ["TrainingStart", "TrainingStep"]


class RewardTrainingConfig(BaseModel):
    """Everything that shapes a run."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    base: str
    """Folder or hub id of a language model, or of a reward model to train further (its head is kept)."""
    out: Path
    """Folder of the trained model."""
    learning_rate: float = Field(default=2e-6, gt=0)
    """Peak rate; the default is the paper's, for full fine-tuning of models of some billion parameters."""
    batch_size: int = Field(default=64, ge=1)
    """Pairs per optimizer step."""
    num_epochs: int = Field(default=1, ge=1)
    """Passes over the pairs."""
    max_steps: int | None = Field(default=None, ge=1)
    """Optimizer steps, whatever the epochs."""
    max_length: int = Field(default=2048, ge=1)
    """Tokens per conversation. Longer ones lose their oldest exchanges; where the last one alone is too long, the pair
    is dropped and counted."""
    eval_fraction: float = Field(default=0.05, ge=0, lt=1)
    """Share of the seed conversations whose pairs are held out, where none are given."""
    seed: int = 0
    """Of a new head, the held-out split, the order of pairs, and dropout."""
    warmup_fraction: float = Field(default=0.03, ge=0, le=1)
    """Share of the steps over which the rate rises; it then falls along a cosine to 0."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's decoupled decay."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Bound on the gradient's norm."""
    micro_batch_tokens: int = Field(default=8192, ge=1)
    """Bound on the tokens of one forward pass, padding included; it changes memory and speed, not the result."""
    checkpoint_every: int = Field(default=500, ge=0)
    """Steps between checkpoints from which a run can resume; 0 for none. They are removed when the run is done."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """How many of the latest checkpoints to keep."""
    resume: bool = False
    """Go on from the last checkpoint in `out`, if there is one."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` is CUDA, in bf16 over fp32 weights, where there is one; else the CPU, in fp32."""


class PairAccounting(BaseModel):
    """What became of the pairs that were read."""

    model_config = ConfigDict(frozen=True)

    num_read: int
    num_used: int
    num_truncated: int
    """Of those used, pairs of which a side lost its oldest exchanges to fit `max_length`."""
    num_dropped: dict[str, int] = {}
    """By reason: a side is `over_long` or `template_refused`, or both became `identical_after_truncation`."""

    def __str__(self) -> str:
        """Say it in one line."""
        dropped = ", ".join(f"{n} {reason}" for reason, n in sorted(self.num_dropped.items())) or "none"
        return f"{self.num_read} read, {self.num_used} used ({self.num_truncated} truncated), dropped: {dropped}"


class HeldOutMetrics(BaseModel):
    """How well a model ranks held-out pairs."""

    model_config = ConfigDict(frozen=True)

    num_pairs: int
    accuracy: float
    """Share of pairs whose chosen side scores higher; a tie is not a win."""
    nll: float
    """Mean Bradley-Terry loss."""
    mean_margin: float


@dataclass(frozen=True, slots=True)
class TrainingStart:
    """What is known before the first step.

    Attributes:
        description: Model, device and precision, for people to read.
        pairs: What became of the training pairs.
        held_out: What became of the held-out pairs.
        before: Held-out metrics of the base; None without held-out pairs.
        first_step: 0, or where the run goes on.
        num_steps: Optimizer steps in all.
    """

    description: str
    pairs: PairAccounting
    held_out: PairAccounting
    before: HeldOutMetrics | None
    first_step: int
    num_steps: int


@dataclass(frozen=True, slots=True)
class TrainingStep:
    """One optimizer step.

    Attributes:
        step: From 1.
        num_steps: Optimizer steps in all.
        loss: Mean over the step's pairs, before the update.
        accuracy: Likewise, the share of pairs ranked rightly.
        learning_rate: Of this step.
        grad_norm: Before clipping.
        num_tokens: Tokens so far, padding left out.
    """

    step: int
    num_steps: int
    loss: float
    accuracy: float
    learning_rate: float
    grad_norm: float
    num_tokens: int


class RewardTrainingResult(BaseModel):
    """The record of a run; `training.json` beside the weights."""

    model_config = ConfigDict(frozen=True)

    config: RewardTrainingConfig
    description: str
    pairs: PairAccounting
    held_out: PairAccounting
    before: HeldOutMetrics | None
    after: HeldOutMetrics | None
    num_steps: int
    num_tokens: int
    seconds: float
    """Spent in optimizer steps by this process."""
    losses: list[float]
    """Mean loss of every step, from the first step of the run even if it was resumed."""
    versions: dict[str, str]
