"""Whether a running server gives the scores of a model in this process: `music serve MODEL --check URL FILE`.

Servers render, shorten and read conversations in their own ways, and compute in their own precision. A difference
matters if it reverses the order of two replies.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from music.conversation import Conversation
from music.reward.model import RewardModel
from music.reward.remote import RemoteReward
from music.reward.tokens.contract import Scored

__all__ = ["CLEAR_MARGIN", "Parity", "check_parity"]

CLEAR_MARGIN = 0.1
"""Sides of a pair whose local scores differ by more than this should have the same order on a server."""


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How the scores of a server and of the local model differ.

    Attributes:
        num_compared: Number of conversations that both score.
        num_scored_by_one: Number of conversations that only the server or only the local model scores.
        max_difference: Largest difference between two scores; None if nothing was compared.
        median_difference: Median difference.
        num_clear_pairs: Number of pairs whose local scores differ by more than `CLEAR_MARGIN`; None without pairs.
        num_rank_flips: Number of these in which the server does not score the same side higher.
        same_weights: Whether the server names the fingerprint of the local model; None if it names none.
    """

    num_compared: int
    num_scored_by_one: int
    max_difference: float | None
    median_difference: float | None
    num_clear_pairs: int | None
    num_rank_flips: int | None
    same_weights: bool | None

    def summary(self) -> dict[str, Any]:
        """Return the figures by name."""
        return dict(vars(self))

    def text(self) -> str:
        """Return the figures as readable text."""
        if self.max_difference is None or self.median_difference is None:
            return f"nothing to compare; {self.num_scored_by_one} conversations were scored by one side alone"
        lines = [
            f"conversations compared: {self.num_compared}, scored by one side alone: {self.num_scored_by_one}",
            f"difference between scores: median {self.median_difference:.2g}, max {self.max_difference:.2g}",
        ]
        if self.num_clear_pairs is not None:
            lines.append(
                f"pairs with a margin over {CLEAR_MARGIN:g}: {self.num_clear_pairs}, in another order on the server: "
                f"{self.num_rank_flips}"
            )
        if self.same_weights is False:
            lines.append("the server has other weights or another score contract than the local model")
        return "\n".join(lines)


def check_parity(
    local: RewardModel, remote: RemoteReward, conversations: Sequence[Conversation], *, are_pairs: bool = False
) -> Parity:
    """Score conversations here and on a server, and compare the scores.

    Args:
        local: The model here.
        remote: The server.
        conversations: The conversations.
        are_pairs: Whether they are the two sides of pairs, in turn.

    Raises:
        EndpointError: The server gives no usable answer.
    """
    ours, theirs = local.score_each(conversations), remote.score_each(conversations)
    differences = [abs(a - b) for a, b in _both(ours, theirs)]
    margins = [(a - b, c - d) for (a, c), (b, d) in _sides(ours, theirs) if abs(a - b) > CLEAR_MARGIN]
    fingerprint = remote.fingerprint
    return Parity(
        num_compared=len(differences),
        num_scored_by_one=sum((a.score is None) != (b.score is None) for a, b in zip(ours, theirs, strict=True)),
        max_difference=max(differences, default=None),
        median_difference=median(differences) if differences else None,
        num_clear_pairs=len(margins) if are_pairs else None,
        num_rank_flips=sum(a * b <= 0 for a, b in margins) if are_pairs else None,
        same_weights=None if fingerprint is None else fingerprint == local.fingerprint,
    )


def _both(ours: Sequence[Scored], theirs: Sequence[Scored]) -> list[tuple[float, float]]:
    """Return the two scores of each conversation that has both."""
    pairs = ((a.score, b.score) for a, b in zip(ours, theirs, strict=True))
    return [(a, b) for a, b in pairs if a is not None and b is not None]


def _sides(ours: Sequence[Scored], theirs: Sequence[Scored]) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Return, per pair that has all four scores, those of its first and of its second side."""
    found = (_both(ours[at : at + 2], theirs[at : at + 2]) for at in range(0, len(ours) - 1, 2))
    return [(both[0], both[1]) for both in found if len(both) == 2]
