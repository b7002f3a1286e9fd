"""`TokenSequence`: one conversation as tokens, and where rewards are read in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

__all__ = ["TokenSequence"]


@dataclass(frozen=True, slots=True)
class TokenSequence:
    """One conversation as tokens.

    Attributes:
        ids: Token ids; at least one.
        reads: Indices of the tokens at which rewards are read, rising.
    """

    ids: Sequence[int]
    reads: tuple[int, ...]

    def __post_init__(self) -> None:
        """Check the indices."""
        rising = all(a < b for a, b in zip(self.reads, self.reads[1:], strict=False))
        if not self.ids or not rising or (self.reads and not 0 <= self.reads[0] <= self.reads[-1] < len(self.ids)):
            raise ValueError(f"expected rising indices of {len(self.ids)} tokens, got {self.reads}")

    @classmethod
    def read_at_end(cls, ids: Sequence[int]) -> Self:
        """Return a sequence whose reward is read at its last token."""
        return cls(ids, (len(ids) - 1,))
