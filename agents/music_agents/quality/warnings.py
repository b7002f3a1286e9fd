"""What in a set's diagnostics is beyond noise and large enough to mind, in words."""

from collections.abc import Iterator

from music_agents.quality.diagnostics import Diagnostics
from music_agents.quality.tells import Tells

__all__ = ["find_warnings"]

MAX_TELL_ACCURACY = 0.60
LONGER_RANGE = (0.40, 0.60)
MAX_STANDARDISED_GAP = 0.25
MAX_REFUSAL_GAP = 0.02
MAX_REPEATED_SHARE = 0.02
MAX_DROPPED_SHARE = 0.20


def find_warnings(found: Diagnostics) -> Iterator[str]:
    """Yield the warnings; a set that is too small for its figures to mean anything gets none of them."""
    if found.tells is not None:
        yield from _on_tells(found.tells)
    yield from _on_lengths(found)
    yield from _on_refusals(found)
    num_repeated = found.repeats.num_first_messages
    if num_repeated > MAX_REPEATED_SHARE * found.num_pairs:
        yield (
            f"{num_repeated} pairs begin as an earlier one, the user's first message included: "
            "give more seeds or personas, or raise the user's temperature"
        )
    num_dropped = sum(found.dropped.values())
    if num_dropped > MAX_DROPPED_SHARE * (num_dropped + found.num_pairs):
        reason = max(found.dropped, key=lambda name: found.dropped[name])
        yield f"{num_dropped} pairs were dropped, most by {reason}: each was paid for, so look into failures.jsonl"


def _on_tells(tells: Tells) -> Iterator[str]:
    """Warn if words give too much away."""
    if tells.accuracy.value <= MAX_TELL_ACCURACY or not tells.accuracy.excludes(0.5):
        return
    listed = "; ".join(
        f"{tell.text!r} ({tell.num_chosen} turns chosen only, {tell.num_rejected} rejected only)"
        for tell in (*tells.words[:3], *tells.openings[:2])
    )
    yield (
        f"words alone reveal the chosen reply in {100 * tells.accuracy.value:.0f}% of turns, so a reward model can "
        "learn them instead of quality; "
        f"{listed or 'no single word stands out, so it is length or many words together'}"
    )


def _on_lengths(found: Diagnostics) -> Iterator[str]:
    """Warn if one side is mostly the longer one, or much longer."""
    longer = found.length.longer_is_rejected
    low, high = LONGER_RANGE
    if not low <= longer.value <= high and longer.excludes(0.5):
        yield f"the rejected reply is the longer one in {100 * longer.value:.0f}% of turns: length gives the side away"
    gap = found.length.standardised
    if abs(gap) > MAX_STANDARDISED_GAP and found.length.words.excludes(0.0):
        side = "chosen" if gap > 0 else "rejected"
        yield f"{side} replies are {abs(found.length.words.value):.0f} words longer ({abs(gap):.2f} SD) on average"


def _on_refusals(found: Diagnostics) -> Iterator[str]:
    """Warn if one side refuses more than the other."""
    chosen, rejected = found.refusals["chosen"], found.refusals["rejected"]
    gap = abs(chosen.value - rejected.value)
    if chosen.is_apart_from(rejected) and gap > MAX_REFUSAL_GAP:
        yield (
            f"{100 * chosen.value:.1f}% of chosen replies refuse against {100 * rejected.value:.1f}% of rejected ones: "
            "refusing gives the side away; RefusalGate(rule=one_sided) drops such pairs"
        )
