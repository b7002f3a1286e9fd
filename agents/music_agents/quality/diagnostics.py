"""Diagnosing a set of pairs: what a reward model could learn from it other than quality.

`diagnose_pairs` reads a set once, in any order. Its result, `PairDiagnostics`, is saved in `run.json`, with warnings
about differences that are large and beyond noise.
"""

from collections.abc import Iterable, Iterator, Mapping

from pydantic import BaseModel, ConfigDict

from music.pairs import ContrastivePair
from music.statistics import MeanInterval
from music_agents.quality.survey import LengthGap, Personas, Repeats, Survey
from music_agents.quality.word_classifier import MIN_PAIRS, WordShortcuts

__all__ = ["PairDiagnostics", "diagnose_pairs"]

MAX_WORD_ACCURACY = 0.60
LONGER_RANGE = (0.40, 0.60)
MAX_STANDARDISED_GAP = 0.25
MAX_REFUSAL_GAP = 0.02
MAX_REPEATED_SHARE = 0.02
MAX_DROPPED_SHARE = 0.20


class PairDiagnostics(BaseModel):
    """Statistics of a set of pairs, with 95% intervals over pairs."""

    model_config = ConfigDict(frozen=True)

    num_pairs: int
    """Number of pairs kept."""
    dropped: dict[str, int]
    """Number of failed or dropped pairs by reason."""
    length: LengthGap
    tells: WordShortcuts | None
    """How often words reveal the chosen side; None for fewer than 50 pairs."""
    refusals: dict[str, MeanInterval]
    """Share of refusals among the replies of each side."""
    turns_contrasted: float
    """Mean number of contrasted turns in a pair."""
    strategies: dict[str, int]
    """Number of contrasted turns by strategy."""
    repeats: Repeats
    personas: Personas
    warnings: tuple[str, ...] = ()
    """Differences that are large and beyond noise, in words."""

    def describe(self) -> str:
        """Return a short text for the terminal."""
        reasons = ", ".join(f"{reason} {num}" for reason, num in self.dropped.items())
        refusals = ", ".join(f"{side} {_percent(share)}" for side, share in self.refusals.items())
        strategies = ", ".join(f"{name} {num}" for name, num in self.strategies.items())
        lines = [
            f"pairs      {self.num_pairs} kept, {sum(self.dropped.values())} dropped" + f" ({reasons})" * bool(reasons),
            self._lengths(),
            self._words(),
            f"refusals   {refusals}",
            f"contrasts  {self.turns_contrasted:.2f} turns a pair: {strategies or 'none recorded'}",
            f"repeats    {self.repeats.num_contexts} pairs share their seed context with an earlier pair, "
            f"{self.repeats.num_first_messages} the user's first message too; {self.personas.num_distinct} personas",
        ]
        return "\n".join([*lines, *(f"warning: {warning}" for warning in self.warnings)])

    def _lengths(self) -> str:
        gap, longer = self.length.words, self.length.longer_is_rejected
        sign, comparison = (-1, "shorter") if gap.value < 0 else (1, "longer")
        return (
            f"length     chosen replies are {abs(gap.value):.1f} words {_interval(gap, sign)} {comparison} "
            f"({self.length.standardised:+.2f} SD); the rejected one is the longer in {_percent(longer)} of turns"
        )

    def _words(self) -> str:
        if self.tells is None:
            return f"words      too few pairs to say (at least {MIN_PAIRS})"
        found = ", ".join(word.text for word in (*self.tells.words, *self.tells.openings)[:6])
        share = _percent(self.tells.accuracy)
        return f"words      words alone reveal the chosen reply in {share}{f': {found}' if found else ''}"


def diagnose_pairs(pairs: Iterable[ContrastivePair], dropped: Mapping[str, int] | None = None) -> PairDiagnostics:
    """Diagnose what a reward model could learn from a set of pairs other than quality.

    Args:
        pairs: The kept pairs in any order, for example `read_saved_pairs(directory)`. They are read once; at most
            2,000 are held in memory.
        dropped: Number of failed or dropped pairs by reason.
    """
    survey = Survey()
    for pair in pairs:
        survey.add(pair)
    found = PairDiagnostics(
        num_pairs=survey.num_pairs,
        dropped=dict(sorted((dropped or {}).items())),
        length=survey.length_gap(),
        tells=survey.sample.shortcuts(),
        refusals={side: mean.share() for side, mean in survey.refusals.items()},
        turns_contrasted=sum(survey.strategies.values()) / max(1, survey.num_pairs),
        strategies=dict(sorted(survey.strategies.items())),
        repeats=survey.repeats(),
        personas=survey.persona_coverage(),
    )
    return found.model_copy(update={"warnings": tuple(_warnings(found))})


def _warnings(found: PairDiagnostics) -> Iterator[str]:
    """Yield the warnings."""
    if found.tells is not None:
        yield from _on_words(found.tells)
    yield from _on_lengths(found)
    yield from _on_refusals(found)
    num_repeated = found.repeats.num_first_messages
    if num_repeated > MAX_REPEATED_SHARE * found.num_pairs:
        yield (
            f"{num_repeated} pairs begin as an earlier one, the user's first message included: "
            "leave repeats out of the source; in a simulation, give more seeds or personas, or raise the user's "
            "temperature"
        )
    num_dropped = sum(found.dropped.values())
    if num_dropped > MAX_DROPPED_SHARE * (num_dropped + found.num_pairs):
        reason = max(found.dropped, key=lambda name: found.dropped[name])
        yield f"{num_dropped} pairs were dropped, most by {reason}: look into failures.jsonl"


def _on_words(found: WordShortcuts) -> Iterator[str]:
    """Warn if words reveal the chosen side too often."""
    if found.accuracy.value <= MAX_WORD_ACCURACY or not found.accuracy.excludes(0.5):
        return
    listed = "; ".join(
        f"{word.text!r} ({word.num_chosen} turns chosen only, {word.num_rejected} rejected only)"
        for word in (*found.words[:3], *found.openings[:2])
    )
    yield (
        f"words alone reveal the chosen reply in {100 * found.accuracy.value:.0f}% of turns, so a reward model can "
        "learn them instead of quality; "
        f"{listed or 'no single word stands out, so it is length or many words together'}"
    )


def _on_lengths(found: PairDiagnostics) -> Iterator[str]:
    """Warn if one side is mostly the longer one, or much longer."""
    longer = found.length.longer_is_rejected
    low, high = LONGER_RANGE
    if not low <= longer.value <= high and longer.excludes(0.5):
        yield f"the rejected reply is the longer one in {100 * longer.value:.0f}% of turns: length reveals the side"
    gap = found.length.standardised
    if abs(gap) > MAX_STANDARDISED_GAP and found.length.words.excludes(0.0):
        side = "chosen" if gap > 0 else "rejected"
        yield f"{side} replies are {abs(found.length.words.value):.0f} words longer ({abs(gap):.2f} SD) on average"


def _on_refusals(found: PairDiagnostics) -> Iterator[str]:
    """Warn if one side refuses more than the other."""
    chosen, rejected = found.refusals["chosen"], found.refusals["rejected"]
    gap = abs(chosen.value - rejected.value)
    if chosen.is_apart_from(rejected) and gap > MAX_REFUSAL_GAP:
        yield (
            f"{100 * chosen.value:.1f}% of chosen replies refuse against {100 * rejected.value:.1f}% of rejected ones: "
            "refusals reveal the side; RefusalGate(rule=one_sided) drops such pairs"
        )


def _percent(figure: MeanInterval) -> str:
    """Return a share as text."""
    return f"{100 * figure.value:.1f}% {_interval(figure, 100)}"


def _interval(figure: MeanInterval, factor: float) -> str:
    """Return an interval times a factor as text; a negative factor swaps its ends."""
    if figure.low is None or figure.high is None:
        return "[?, ?]"
    low, high = sorted((factor * figure.low, factor * figure.high))
    return f"[{low:.1f}, {high:.1f}]"
