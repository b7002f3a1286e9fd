"""Gates: what a finished pair must pass to be kept.

A gate is any async callable from a pair and a `GateView` to a `GateVerdict`. Gates are asked in order; the first that
gives a reason drops the pair, the next index takes its place, and the reason is counted. The default gates read the
replies of the simulated turns and cost no call; the judge's gate is in `music_agents.quality.judge`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from music.pairs import ContrastivePair, Usage
from music_agents.failures import FailureReason
from music_agents.quality.texts import find_degeneration, find_leak, find_malformation, find_refusal

__all__ = ["PASSED", "GateVerdict", "GateView", "PairGate", "simulated_replies"]
__all__ += ["FormatGate", "LeakGate", "LengthGate", "RefusalGate", "RefusalRule", "default_gates"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateView:
    """What a gate may know besides the pair.

    Attributes:
        pair: Index of the pair in its run.
        run_seed: The run's seed.
    """

    pair: int
    run_seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GateVerdict:
    """What a gate says.

    Attributes:
        reason: The account that the dropped pair goes under; None keeps it.
        detail: What was found, for people.
        side: Of the reply in which it was found, `chosen` or `rejected`; empty if it is not one reply.
        turn: Index of that reply's simulated turn; None likewise.
        usage: Of the calls that it took.
        judgement: What a judge said in both orders, as `ContrastivePair.judgement` has it; empty if none was asked.
    """

    reason: FailureReason | None = None
    detail: str = ""
    side: str = ""
    turn: int | None = None
    usage: Usage = field(default_factory=Usage)
    judgement: str = ""


PASSED = GateVerdict()
"""The verdict that keeps a pair and cost nothing."""


class PairGate(Protocol):
    """Anything that may drop a pair."""

    async def __call__(self, pair: ContrastivePair, view: GateView, /) -> GateVerdict:
        """Keep the pair or say why not.

        Raises:
            RoleFailedError: No verdict came about; the pair is given up.
            EndpointError: A model gave no usable reply; likewise.
        """
        ...


def simulated_replies(pair: ContrastivePair) -> Iterator[tuple[str, str]]:
    """Yield the chosen and the rejected reply of each simulated turn."""
    first = pair.num_seed_messages + 1
    for chosen, rejected in zip(pair.chosen.messages[first::2], pair.rejected.messages[first::2], strict=False):
        yield chosen.content, rejected.content


class RefusalRule(StrEnum):
    """Which refusals drop a pair."""

    REJECTED_ALONE = "rejected_alone"
    """The rejected side refuses in a turn in which the chosen side does not."""
    ONE_SIDED = "one_sided"
    """Either side refuses in a turn in which the other does not."""
    ANY = "any"
    """Either side refuses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalGate:
    """Drops pairs in which a reply is a refusal.

    By default a chosen refusal is kept: where seeds ask for harm it is the right reply. A refusal on the rejected side
    alone is no contrast to the request, and would teach that refusing is bad.

    Attributes:
        rule: Which refusals drop a pair.
    """

    rule: RefusalRule = RefusalRule.REJECTED_ALONE

    async def __call__(self, pair: ContrastivePair, view: GateView) -> GateVerdict:
        """Look at both replies of each turn."""
        for turn, (chosen_reply, rejected_reply) in enumerate(simulated_replies(pair)):
            rejected = find_refusal(rejected_reply)
            if not rejected and self.rule is RefusalRule.REJECTED_ALONE:
                continue
            chosen = find_refusal(chosen_reply)
            found = rejected or chosen
            if found and (self.rule is RefusalRule.ANY or not (chosen and rejected)):
                return _dropped(FailureReason.GATE_REFUSAL, "rejected" if rejected else "chosen", turn, found)
        return PASSED


@dataclass(frozen=True, slots=True)
class LeakGate:
    """Drops pairs in which a reply speaks of the contrast's instructions."""

    async def __call__(self, pair: ContrastivePair, view: GateView) -> GateVerdict:
        """Look at every reply."""
        return _first_finding(pair, FailureReason.GATE_LEAK, find_leak)


@dataclass(frozen=True, slots=True)
class FormatGate:
    """Drops pairs in which a reply holds role labels, control tokens, an open code block, no word or a loop."""

    async def __call__(self, pair: ContrastivePair, view: GateView) -> GateVerdict:
        """Look at every reply."""
        return _first_finding(
            pair, FailureReason.GATE_FORMAT, lambda text: find_degeneration(text) or find_malformation(text)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthGate:
    """Drops pairs in which a reply is out of proportion.

    Attributes:
        max_ratio: A reply may be so many times as long as the other side's in the same turn.
        min_gap: Characters by which it must be longer for the ratio to count, as short replies differ by much.
        max_characters: Bound on any reply.
    """

    max_ratio: float = 10.0
    min_gap: int = 3000
    max_characters: int = 20_000

    async def __call__(self, pair: ContrastivePair, view: GateView) -> GateVerdict:
        """Compare the two replies of each turn."""
        for turn, (chosen, rejected) in enumerate(simulated_replies(pair)):
            shorter, longer = sorted((len(chosen), len(rejected)))
            out_of_proportion = longer - shorter >= self.min_gap and longer > self.max_ratio * shorter
            if out_of_proportion or longer > self.max_characters:
                side = "chosen" if longer == len(chosen) else "rejected"
                found = f"{longer} characters against {shorter}"
                return _dropped(FailureReason.GATE_LENGTH, side, turn, found)
        return PASSED


def default_gates(refusals: RefusalRule = RefusalRule.REJECTED_ALONE) -> tuple[PairGate, ...]:
    """Return the gates that a run has unless told otherwise; `refusals` says which refusals drop a pair."""
    return (RefusalGate(rule=refusals), LeakGate(), FormatGate(), LengthGate())


def _first_finding(pair: ContrastivePair, reason: FailureReason, find: Callable[[str], str]) -> GateVerdict:
    """Return the verdict on the first reply in which something is found."""
    for turn, replies in enumerate(simulated_replies(pair)):
        for side, text in zip(("chosen", "rejected"), replies, strict=True):
            if found := find(text):
                return _dropped(reason, side, turn, found)
    return PASSED


def _dropped(reason: FailureReason, side: str, turn: int, found: str) -> GateVerdict:
    """Return a verdict that says where something was found."""
    detail = f"the {side} reply of turn {turn + 1}: {found[:120]}"
    return GateVerdict(reason=reason, detail=detail, side=side, turn=turn)
