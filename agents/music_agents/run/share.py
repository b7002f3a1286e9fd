"""Which part of a run one worker simulates."""

from dataclasses import dataclass

__all__ = ["Share"]


@dataclass(frozen=True, slots=True)
class Share:
    """One worker's share of a run: every `num_shares`-th index.

    Attributes:
        number: Which share, from 0.
        num_shares: Of how many.
        end: The indices of the run are below this.
    """

    number: int
    num_shares: int
    end: int

    def __str__(self) -> str:
        """Name the share, wherever the run ends."""
        return f"{self.number} of {self.num_shares}"

    def indices(self) -> range:
        """Return the indices of the share."""
        return range(self.number, self.end, self.num_shares)
