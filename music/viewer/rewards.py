"""`PairRewards`, the rewards of a pair after each turn, and `RewardSource`, which gives them.

The margin is the score of the chosen side less that of the rejected one, by the model's own readout. A pair without
rewards has a problem in words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import orjson

from music.viewer.records import Record

__all__ = ["PairRewards", "RewardSource"]


@dataclass(frozen=True, slots=True)
class PairRewards:
    """The rewards of a pair.

    Attributes:
        chosen: The reward after each assistant turn of the chosen side; empty if there is a problem.
        rejected: The same of the rejected side.
        margin: The score of the chosen side less that of the rejected one; None if there is a problem.
        problem: Why there are no rewards; empty for none.
    """

    chosen: tuple[float, ...] = ()
    rejected: tuple[float, ...] = ()
    margin: float | None = None
    problem: str = ""

    def pack(self) -> bytes:
        """Return them as JSON."""
        return orjson.dumps(self)

    @classmethod
    def unpack(cls, packed: bytes) -> "PairRewards":
        """Return the rewards that `pack` packed."""
        row = orjson.loads(packed)
        return cls(tuple(row["chosen"]), tuple(row["rejected"]), row["margin"], row["problem"])


class RewardSource(Protocol):
    """What gives the rewards of pairs.

    Attributes:
        name: The name that the user gave.
        batch_size: The number of pairs to begin with.
    """

    name: str
    batch_size: int

    def load(self) -> str:
        """Do what takes time, and return a fingerprint, which changes whenever rewards may change.

        Raises:
            MusicError: It cannot be loaded.
        """
        ...

    def score(self, pairs: Sequence[Record]) -> list[PairRewards]:
        """Return the rewards of pairs.

        Raises:
            MusicError: None can be had now, for example because a server does not answer.
        """
        ...
