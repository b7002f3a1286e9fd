"""`Diagnostics`: what a reward model could learn from a set of pairs other than quality, for `run.json`."""

from pydantic import BaseModel, ConfigDict

from music_agents.quality.figures import Figure
from music_agents.quality.survey import LengthGap, Personas, Repeats
from music_agents.quality.tells import MIN_PAIRS, Tells

__all__ = ["Diagnostics"]


class Diagnostics(BaseModel):
    """What a set of pairs looks like; intervals are of 95%, over pairs."""

    model_config = ConfigDict(frozen=True)

    num_pairs: int
    """Pairs kept."""
    dropped: dict[str, int]
    """Pairs that came to nothing, by reason."""
    length: LengthGap
    tells: Tells | None
    """What words give away; None for fewer than 50 pairs."""
    refusals: dict[str, Figure]
    """Share of replies that refuse, by side."""
    turns_contrasted: float
    """Mean number of contrasted turns in a pair."""
    strategies: dict[str, int]
    """Contrasted turns by strategy."""
    repeats: Repeats
    personas: Personas
    warnings: tuple[str, ...] = ()
    """What is beyond noise and large enough to mind, in words."""

    def describe(self) -> str:
        """Return a short text for the terminal."""
        lines = (self._pairs(), self._lengths(), self._words(), self._refusals(), self._contrasts(), self._sameness())
        return "\n".join([*lines, *(f"warning: {warning}" for warning in self.warnings)])

    def _pairs(self) -> str:
        reasons = ", ".join(f"{reason} {num}" for reason, num in self.dropped.items())
        return f"pairs      {self.num_pairs} kept, {sum(self.dropped.values())} dropped" + f" ({reasons})" * bool(
            reasons
        )

    def _lengths(self) -> str:
        gap, longer = self.length.words, self.length.longer_is_rejected
        sign, comparison = (-1, "shorter") if gap.value < 0 else (1, "longer")
        return (
            f"length     chosen replies are {abs(gap.value):.1f} words {_interval(gap, sign)} {comparison} "
            f"({self.length.standardised:+.2f} SD); the rejected one is the longer in {_percent(longer)} of turns"
        )

    def _words(self) -> str:
        if self.tells is None:
            return f"tells      too few pairs to say (at least {MIN_PAIRS})"
        found = ", ".join(tell.text for tell in (*self.tells.words, *self.tells.openings)[:6])
        return (
            f"tells      words alone reveal the chosen reply in {_percent(self.tells.accuracy)}"
            + f": {found}" * bool(found)
        )

    def _refusals(self) -> str:
        return "refusals   " + ", ".join(f"{side} {_percent(share)}" for side, share in self.refusals.items())

    def _contrasts(self) -> str:
        strategies = ", ".join(f"{name} {num}" for name, num in self.strategies.items())
        return f"contrasts  {self.turns_contrasted:.2f} turns a pair: {strategies or 'none recorded'}"

    def _sameness(self) -> str:
        return (
            f"repeats    {self.repeats.num_contexts} pairs share their seed context with an earlier pair, "
            f"{self.repeats.num_first_messages} the user's first message too; {self.personas.num_distinct} personas"
        )


def _percent(figure: Figure) -> str:
    """Write a share."""
    return f"{100 * figure.value:.1f}% {_interval(figure, 100)}"


def _interval(figure: Figure, factor: float) -> str:
    """Write an interval times a factor; a negative one turns it around."""
    if figure.low is None or figure.high is None:
        return "[?, ?]"
    low, high = sorted((factor * figure.low, factor * figure.high))
    return f"[{low:.1f}, {high:.1f}]"
