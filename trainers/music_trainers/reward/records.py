"""The records of a training run before, during and after it, and the accounts of its pairs and tokens."""

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from music.reward.tokens.contract import RewardStatistics
from music_trainers.reward.config import RewardTrainingConfig

__all__ = ["HeldOutEvaluation", "HeldOutMetrics", "PackingAccounting", "PairAccounting", "RewardTrainingResult"]
__all__ += ["SourceAccounting", "TrainingStart", "TrainingStep"]


class PairAccounting(BaseModel):
    """How many pairs were read, used, truncated and dropped."""

    model_config = ConfigDict(frozen=True)

    num_read: int
    num_used: int
    num_truncated: int
    """Used pairs in which a side lost its oldest exchanges to fit `max_length`."""
    num_dropped: dict[str, int] = {}
    """By reason. One side is `over_long`, `template_refused`, `tool_calls_not_rendered` or `reward_token_missing`, or
    both sides are `identical_as_tokens` or `identical_after_truncation`."""

    def __str__(self) -> str:
        """Summarise it in one line."""
        dropped = ", ".join(f"{n} {reason}" for reason, n in sorted(self.num_dropped.items())) or "none"
        return f"{self.num_read} read, {self.num_used} used ({self.num_truncated} truncated), dropped: {dropped}"

    def __add__(self, other: "PairAccounting") -> "PairAccounting":
        """Add up two accounts."""
        reasons = self.num_dropped.keys() | other.num_dropped.keys()
        return PairAccounting(
            num_read=self.num_read + other.num_read,
            num_used=self.num_used + other.num_used,
            num_truncated=self.num_truncated + other.num_truncated,
            num_dropped={r: self.num_dropped.get(r, 0) + other.num_dropped.get(r, 0) for r in sorted(reasons)},
        )


class SourceAccounting(BaseModel):
    """How a run uses one source of pairs."""

    model_config = ConfigDict(frozen=True)

    name: str
    weight: float
    pairs: PairAccounting
    num_drawn: int
    """Pairs of this source in an epoch."""
    num_with_margin: int
    """Used pairs that have their own margin."""

    def __str__(self) -> str:
        """Summarise it in one line."""
        margins = f", {self.num_with_margin} with a margin" if self.num_with_margin else ""
        return f"{self.name}: {self.pairs}; weight {self.weight:g}, {self.num_drawn} an epoch{margins}"


class PackingAccounting(BaseModel):
    """How many tokens the steps computed so far, and how many packing saved."""

    model_config = ConfigDict(frozen=True)

    num_sequence_tokens: int = 0
    """Tokens of all sides; a shared token counts once for each side that shares it."""
    num_tokens: int = 0
    """Computed tokens."""
    num_slots: int = 0
    """Tokens if all rows of a step were as long as its longest row."""

    @property
    def fill(self) -> float:
        """How equal in length the rows of a step are; 1 if all are equally long."""
        return self.num_tokens / self.num_slots if self.num_slots else 1.0

    @property
    def saved(self) -> float:
        """Share of the tokens that sharing saved."""
        return 1 - self.num_tokens / self.num_sequence_tokens if self.num_sequence_tokens else 0.0

    def __add__(self, other: "PackingAccounting") -> "PackingAccounting":
        """Add up two accounts."""
        return PackingAccounting(
            num_sequence_tokens=self.num_sequence_tokens + other.num_sequence_tokens,
            num_tokens=self.num_tokens + other.num_tokens,
            num_slots=self.num_slots + other.num_slots,
        )

    def __str__(self) -> str:
        """Summarise it in one line."""
        return (
            f"{self.num_tokens:,} tokens computed for {self.num_sequence_tokens:,} "
            f"({self.saved:.1%} saved by sharing), rows {self.fill:.1%} full"
        )


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
    """Pairs whose sides have the same score."""


class HeldOutEvaluation(BaseModel):
    """An evaluation on the held-out pairs."""

    model_config = ConfigDict(frozen=True)

    step: int
    """Steps taken so far."""
    metrics: HeldOutMetrics
    rewards: RewardStatistics
    """Mean and spread of the held-out conversations' rewards."""


@dataclass(frozen=True, slots=True)
class TrainingStart:
    """What is known before the first step.

    Attributes:
        description: Model, device and precision, for people to read.
        pairs: Account of the training pairs.
        sources: Account of each source.
        held_out: Account of the held-out pairs.
        before: Held-out metrics of the base; None without held-out pairs.
        first_step: 0, or the step after which the run resumes.
        num_steps: Total number of optimizer steps.
        notes: Remarks for the user, one sentence each.
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
        num_steps: Total number of optimizer steps.
        loss: Mean over the step's pairs, before the update.
        accuracy: Share of the step's pairs that are ranked correctly, before the update.
        learning_rate: Learning rate of this step.
        grad_norm: Norm of the gradient before clipping.
        num_tokens: Tokens of all sides so far; a shared token counts once for each side that shares it.
        tokens_per_second: Rate of these tokens since this process began.
        model_flops_share: Share of the peak FLOP/s since this process began; None if the peak is not known.
        evaluation: The evaluation after this step, if there is one.
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
    evaluation: HeldOutEvaluation | None = None


class RewardTrainingResult(BaseModel):
    """The record of a run, `training.json` beside the weights."""

    model_config = ConfigDict(frozen=True)

    config: RewardTrainingConfig
    description: str
    pairs: PairAccounting
    sources: tuple[SourceAccounting, ...]
    held_out: PairAccounting
    before: HeldOutMetrics | None
    after: HeldOutMetrics | None
    """Held-out metrics of the saved weights, computed as in training."""
    evaluations: list[HeldOutEvaluation]
    """Evaluations during the run and at its end."""
    saved_step: int
    """The step after which the saved weights were taken."""
    saved_dtype: Literal["float32", "bfloat16"]
    """Data type of the saved weights."""
    merged_adapters: bool
    """Whether adapters were trained and merged into the saved weights, in fp32."""
    notes: tuple[str, ...] = ()
    """Remarks for the user, one sentence each."""
    stopped_early: bool
    num_steps: int
    """Steps taken."""
    num_tokens: int
    packing: PackingAccounting
    seconds: float
    """Time in optimizer steps and evaluations since the run began or resumed."""
    tokens_per_second: float
    """Token rate over these seconds."""
    losses: list[float]
    """Mean loss of every step, from the first step of the run even if it resumed."""
    versions: dict[str, str]
