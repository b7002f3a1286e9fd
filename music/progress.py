"""`ProgressBar`: the protocol by which library functions report progress."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

__all__ = ["ProgressBar", "no_progress"]


class ProgressBar(Protocol):
    """Shows the progress of a count within a context; `music.cli.counted` is one."""

    def __call__(
        self, label: str, total: int, /, *, is_bound: bool = False
    ) -> AbstractContextManager[Callable[[int], None]]:
        """Return a context that yields a function to call with the number of newly finished items.

        Args:
            label: Name of the items, in the plural.
            total: Number of items.
            is_bound: Whether `total` is an upper bound.
        """
        ...


@contextmanager
def no_progress(label: str, total: int, /, *, is_bound: bool = False) -> Iterator[Callable[[int], None]]:
    """Show nothing."""
    yield lambda num: None
