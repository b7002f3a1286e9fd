"""What a preflight measured, and what follows from it for a run."""

from collections import Counter
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from music.llm.spending.records import Spending
from music_agents.failures import FailureReason
from music_agents.remedies import remedy
from music_agents.roles import MAX_ATTEMPTS
from music_agents.run import SimulationConfig

__all__ = ["Measure", "Preflight", "sum_up"]

MIN_KEPT = 0.05
"""Share of the pairs that must come to their end, or the strategy cannot work."""


class Measure(BaseModel):
    """What a role, or a contrast, made of its turns."""

    model_config = ConfigDict(frozen=True)

    num_asked: int
    """Replies asked for."""
    num_fit: int
    """Replies that were of use."""
    unfit: dict[str, int]
    """The others, by reason."""

    @property
    def share_of_turns(self) -> float:
        """The share of turns that come to a reply of use, as a turn is asked for three times at most."""
        return 1.0 if not self.num_asked else 1 - (1 - self.num_fit / self.num_asked) ** MAX_ATTEMPTS

    def describe(self) -> str:
        """Say it in a line."""
        unfit = ", ".join(f"{reason} {num}" for reason, num in self.unfit.items())
        return f"{self.num_fit} of {self.num_asked} replies usable" + (f"; {unfit}" if unfit else "")


class Preflight(BaseModel):
    """What the models of a run can do."""

    model_config = ConfigDict(frozen=True)

    roles: dict[str, Measure]
    """User and assistant."""
    contrasts: dict[str, Measure]
    """By contrast, as it is written."""
    share_kept: float
    """Share of the run's pairs that would come to their end."""
    notes: dict[str, int]
    """Replies that had something taken out, by role and kind: `assistant:thinking`."""
    spending: Spending
    """Of the preflight itself."""

    @property
    def can_work(self) -> bool:
        """Whether the strategy can work with these models."""
        return self.share_kept >= MIN_KEPT

    def describe(self) -> str:
        """Say what was measured, and what to do."""
        measures = self.roles | self.contrasts
        width = max(11, *(len(name) + 1 for name in measures))
        lines = [f"{name:<{width}}{measure.describe()}" for name, measure in measures.items()]
        if self.notes:
            lines.append(f"{'taken out':<{width}}{', '.join(f'{kind} {num}' for kind, num in self.notes.items())}")
        cost = f", {self.spending.cost:.2f} USD" if self.spending.cost else ""
        lines.append(f"{'spent':<{width}}{self.spending.num_calls} calls, {self.spending.num_tokens:,} tokens{cost}")
        verdict = "can work" if self.can_work else "cannot work"
        kept = f"about {100 * self.share_kept:.0f} of 100 pairs would come to their end"
        lines.append(f"{'verdict':<{width}}this strategy {verdict} with these models: {kept}")
        return "\n".join([*lines, *(f"{'advice':<{width}}{one}" for one in self.advice())])

    def advice(self) -> list[str]:
        """Return what would help, for whatever loses a fifth of its turns or more."""
        told = []
        for name, measure in (self.roles | self.contrasts).items():
            if measure.unfit and measure.share_of_turns < 0.8:
                worst = FailureReason(next(iter(measure.unfit)))
                told.append(f"{name}: {remedy(worst) or f'most replies fail by {worst}'}")
        able = [name for name, measure in self.contrasts.items() if measure.share_of_turns >= 0.8]
        if told and able and len(able) < len(self.contrasts):
            told.append(f"--strategy {','.join(able)} is what this model can do of the strategy")
        return told


def sum_up(
    config: SimulationConfig, tallies: Mapping[str, Counter[str]], notes: Counter[str], spending: Spending
) -> Preflight:
    """Turn counts into a verdict."""
    measures = {
        name: Measure(
            num_asked=tally.total(),
            num_fit=tally[""],
            unfit={reason: num for reason, num in tally.most_common() if reason},
        )
        for name, tally in tallies.items()
    }
    roles = {name: measures.pop(name) for name in ("user", "assistant")}
    num_turns = config.num_turns
    num_user_turns = num_turns if config.shared_script else 2 * num_turns - 1  # the first is shared
    talk = roles["user"].share_of_turns ** num_user_turns * roles["assistant"].share_of_turns ** num_turns
    weights = {name: weight / sum(config.strategy.values()) for name, weight in config.strategy.items()}
    kept = sum(weight * measures[name].share_of_turns ** num_turns for name, weight in weights.items())
    return Preflight(
        roles=roles,
        contrasts=measures,
        share_kept=talk * kept,
        notes=dict(notes.most_common()),
        spending=spending,
    )
