"""A tally: counts by key, in bounded memory."""

from collections import OrderedDict

__all__ = ["Tally"]

_MAX_KEYS = 100_000


class Tally:
    """Counts by key; the key that was counted longest ago is forgotten first."""

    def __init__(self) -> None:
        self._counts: OrderedDict[bytes, int] = OrderedDict()

    def __getitem__(self, key: bytes) -> int:
        return self._counts.get(key, 0)

    def add(self, key: bytes) -> int:
        """Count a key once more and return its count."""
        count = self._counts.pop(key, 0) + 1
        self._counts[key] = count
        if len(self._counts) > _MAX_KEYS:
            self._counts.popitem(last=False)
        return count

    def forget(self, key: bytes) -> None:
        """Take a key's count back to zero."""
        self._counts.pop(key, None)
