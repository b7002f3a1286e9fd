"""What is known of a training run before, during and after it."""

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from music.reward.tokens.contract import RewardStatistics
from music_trainers.reward.accounting import PackingAccounting, PairAccounting, SourceAccounting
from music_trainers.reward.config import RewardTrainingConfig

__all__ = ["Evaluation", "HeldOutMetrics", "RewardTrainingResult", "TrainingStart", "TrainingStep"]


class HeldOutMetrics(BaseModel):
    """How well a model ranks held-out pairs."""

    model_config = ConfigDict(frozen=True)

    num_pairs: int
    accuracy: float
    """Share of pairs whose chosen side scores higher; a tie is not a win."""
    nll: float
    """Mean Bradley-Terry loss."""
    mean_margin: float
    num_ties: int = 0
    """Pairs whose sides score alike."""


class Evaluation(BaseModel):
    """An evaluation on the held-out pairs."""

    model_config = ConfigDict(frozen=True)

    step: int
    """Steps taken before it."""
    metrics: HeldOutMetrics
    rewards: RewardStatistics
    """Of the held-out conversations."""


@dataclass(frozen=True, slots=True)
class TrainingStart:
    """What is known before the first step.

    Attributes:
        description: Model, device and precision, for people to read.
        pairs: What became of the training pairs.
        sources: The same by source.
        held_out: What became of the held-out pairs.
        before: Held-out metrics of the base; None without held-out pairs.
        first_step: 0, or where the run goes on.
        num_steps: Optimizer steps in all.
        notes: What else is worth knowing, a sentence each.
    """

    description: str
    pairs: PairAccounting
    sources: tuple[SourceAccounting, ...]
    held_out: PairAccounting
    before: HeldOutMetrics | None
    first_step: int
    num_steps: int
    notes: tuple[str, ...] = ()


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
        num_tokens: Tokens of all sides so far, shared ones as often as they are shared.
        tokens_per_second: Likewise, since this process began.
        model_flops_share: Of the peak, since this process began; None where the peak is not known.
        evaluation: Made after this step, if any.
    """

    step: int
    num_steps: int
    loss: float
    accuracy: float
    learning_rate: float
    grad_norm: float
    num_tokens: int
    tokens_per_second: float
    model_flops_share: float | None = None
    evaluation: Evaluation | None = None


class RewardTrainingResult(BaseModel):
    """The record of a run; `training.json` beside the weights."""

    model_config = ConfigDict(frozen=True)

    config: RewardTrainingConfig
    description: str
    pairs: PairAccounting
    sources: tuple[SourceAccounting, ...]
    held_out: PairAccounting
    before: HeldOutMetrics | None
    after: HeldOutMetrics | None
    """Of the weights that are saved, computed as in training."""
    evaluations: list[Evaluation]
    """During the run and at its end."""
    saved_step: int
    """After which step the saved weights stood."""
    saved_dtype: Literal["float32", "bfloat16"]
    """Type of the saved weights."""
    merged_adapters: bool
    """Whether adapters were trained and added to the saved weights, in fp32."""
    notes: tuple[str, ...] = ()
    """What else is worth knowing of the run, a sentence each."""
    stopped_early: bool
    num_steps: int
    """Steps taken."""
    num_tokens: int
    packing: PackingAccounting
    seconds: float
    """Spent in optimizer steps and evaluations since the run began or was resumed."""
    tokens_per_second: float
    """Over these seconds."""
    losses: list[float]
    """Mean loss of every step, from the first step of the run even if it was resumed."""
    versions: dict[str, str]
