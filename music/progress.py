"""`ProgressBar`: how library functions show progress, without a terminal of their own."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

__all__ = ["ProgressBar", "no_progress"]


class ProgressBar(Protocol):
    """Shows how far a count is, for as long as its context lasts; `music.cli.counted` is one."""

    def __call__(
        self, label: str, total: int, /, *, is_bound: bool = False
    ) -> AbstractContextManager[Callable[[int], None]]:
        """Return a context that yields what to call with how many more are done.

        Args:
            label: What is counted, in the plural.
            total: How many there are.
            is_bound: Whether there are that many at most.
        """
        ...


@contextmanager
def no_progress(label: str, total: int, /, *, is_bound: bool = False) -> Iterator[Callable[[int], None]]:
    """Show nothing."""
    yield lambda num: None
