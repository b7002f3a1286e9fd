"""Gates: what a finished pair must pass to be kept.

A gate is any async callable from a pair and a `GateView` to a `GateVerdict`. Gates are asked in order; the first that
gives a reason drops the pair, the next index takes its place, and the reason is counted. The gates over the text stand
in `music_agents.quality.text_gates`, the judge in `music_agents.quality.judge`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from music.pairs import ContrastivePair, Usage
from music_agents.failures import FailureReason

__all__ = ["PASSED", "GateVerdict", "GateView", "PairGate", "simulated_replies"]


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
