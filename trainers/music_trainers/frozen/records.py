"""`RewardHeadResult`, the record of a head that was fitted to a frozen backbone."""

from pydantic import BaseModel, ConfigDict

from music_trainers.frozen.head import RidgeTrial
from music_trainers.reward.config import RewardTrainingConfig
from music_trainers.reward.progress import format_metrics
from music_trainers.reward.records import HeldOutMetrics, PairAccounting, SourceAccounting

__all__ = ["RewardHeadResult", "format_head_result"]


class RewardHeadResult(BaseModel):
    """The record of a run, `training.json` beside the weights."""

    model_config = ConfigDict(frozen=True)

    config: RewardTrainingConfig
    description: str
    pairs: PairAccounting
    sources: tuple[SourceAccounting, ...]
    held_out: PairAccounting
    before: HeldOutMetrics | None
    """Held-out metrics of the base's own head, or of a random one if it has none."""
    after: HeldOutMetrics | None
    """Held-out metrics of the saved head. These pairs did not choose the ridge."""
    ridge: float
    """Strength of the penalty."""
    trials: tuple[RidgeTrial, ...]
    """The ridges that were tried; empty if it was given."""
    num_iterations: int
    """Steps of L-BFGS of the last fit."""
    hidden_size: int
    num_computed_states: int
    """Hidden states that this run computed."""
    num_cached_states: int
    """Hidden states that were on disk before."""
    features: str
    """Folder of the hidden states of this base under this contract."""
    notes: tuple[str, ...] = ()
    """Remarks for the user, one sentence each."""
    seconds_of_states: float
    """Time for the hidden states."""
    seconds_of_fit: float
    """Time for choosing the ridge and fitting the head."""
    versions: dict[str, str]


def format_head_result(result: RewardHeadResult) -> str:
    """Summarise a run in a few lines."""
    chosen = f", the best of {len(result.trials)}" if result.trials else ""
    return (
        f"{result.num_computed_states:,} hidden states computed in {result.seconds_of_states:.1f} s, "
        f"{result.num_cached_states:,} read from {result.features}\n"
        f"head of {result.hidden_size} weights fitted in {result.seconds_of_fit:.1f} s with ridge {result.ridge:g}"
        f"{chosen}\nbefore: {format_metrics(result.before)}\nafter:  {format_metrics(result.after)}\n"
        f"saved to {result.config.out}" + "".join(f"\nnote: {note}" for note in result.notes)
    )
