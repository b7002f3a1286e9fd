"""Many comparisons at once: p values adjusted for their number, so that one of them is not beyond noise by luck."""

from collections.abc import Sequence

from music.errors import InvalidInputError

__all__ = ["holm"]


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values adjusted by Holm's step-down method, in the order given.

    Below 0.05, each is beyond noise with at most one chance in twenty that any of the family is so by luck, however the
    comparisons depend on each other.

    Args:
        p_values: Of all comparisons that were made, the family, not of those alone that look well.

    Raises:
        InvalidInputError: One of them is not within [0, 1].
    """
    if bad := [p for p in p_values if not 0 <= p <= 1]:
        raise InvalidInputError(f"expected p values within [0, 1], got {bad[0]}")
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted
