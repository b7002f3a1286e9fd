"""Gates decide whether a finished pair is kept.

A gate is any async callable from a pair and a `GateView` to a `GateVerdict`. Gates are asked in order. The first that
gives a reason drops the pair; the reason is counted, and the next index replaces the pair. The default gates read the
replies of the simulated turns and make no calls. The gate of a judge is in `music_agents.quality.judge`.
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
    """What a gate knows besides the pair.

    Attributes:
        pair: Index of the pair in its run.
        run_seed: The run's seed.
    """

    pair: int
    run_seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GateVerdict:
    """A gate's decision.

    Attributes:
        reason: Why the pair is dropped; None keeps it.
        detail: What was found, in words.
        side: Side of the reply in which it was found, `chosen` or `rejected`; empty if it is not one reply.
        turn: Index of that reply's simulated turn; None if it is not one reply.
        usage: Calls and tokens that the decision took.
        judgement: A judge's choices in both orders, as in `ContrastivePair.judgement`; empty without a judge.
    """

    reason: FailureReason | None = None
    detail: str = ""
    side: str = ""
    turn: int | None = None
    usage: Usage = field(default_factory=Usage)
    judgement: str = ""


PASSED = GateVerdict()
"""The verdict that keeps a pair, at no cost."""


class PairGate(Protocol):
    """Anything that may drop a pair."""

    async def __call__(self, pair: ContrastivePair, view: GateView, /) -> GateVerdict:
        """Keep the pair or return the reason to drop it.

        Raises:
            RoleFailedError: There is no verdict; the pair fails.
            EndpointError: A model gave no usable reply; the pair fails.
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

    By default a chosen refusal is kept: if a seed asks for harm, it is the right reply. A refusal on the rejected side
    alone is dropped: it would teach that refusing is bad.

    Attributes:
        rule: Which refusals drop a pair.
    """

    rule: RefusalRule = RefusalRule.REJECTED_ALONE

    async def __call__(self, pair: ContrastivePair, view: GateView) -> GateVerdict:
        """Check both replies of each turn."""
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
    """Drops pairs in which a reply mentions the contrast's instructions."""

    async def __call__(self, pair: ContrastivePair, view: GateView) -> GateVerdict:
        """Check every reply."""
        return _first_finding(pair, FailureReason.GATE_LEAK, find_leak)


@dataclass(frozen=True, slots=True)
class FormatGate:
    """Drops pairs in which a reply has role labels, control tokens, an open code block, no word or a loop."""

    async def __call__(self, pair: ContrastivePair, view: GateView) -> GateVerdict:
        """Check every reply."""
        return _first_finding(
            pair, FailureReason.GATE_FORMAT, lambda text: find_degeneration(text) or find_malformation(text)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthGate:
    """Drops pairs in which a reply is too long, absolutely or compared with the other side.

    Attributes:
        max_ratio: Greatest length of a reply relative to the other side's in the same turn.
        min_gap: Smallest difference in characters at which the ratio counts, because short replies vary widely.
        max_characters: Greatest length of any reply.
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
    """Return the default gates of a run; `refusals` is the rule of its `RefusalGate`."""
    return (RefusalGate(rule=refusals), LeakGate(), FormatGate(), LengthGate())


def _first_finding(pair: ContrastivePair, reason: FailureReason, find: Callable[[str], str]) -> GateVerdict:
    """Return the verdict on the first reply in which something is found."""
    for turn, replies in enumerate(simulated_replies(pair)):
        for side, text in zip(("chosen", "rejected"), replies, strict=True):
            if found := find(text):
                return _dropped(reason, side, turn, found)
    return PASSED


def _dropped(reason: FailureReason, side: str, turn: int, found: str) -> GateVerdict:
    """Return a verdict with the place of a finding."""
    detail = f"the {side} reply of turn {turn + 1}: {found[:120]}"
    return GateVerdict(reason=reason, detail=detail, side=side, turn=turn)
