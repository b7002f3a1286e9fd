"""Rank correlation with an interval over whole conversations."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from music.errors import InvalidInputError
from music.statistics.composite import Part, composite
from music.statistics.estimates import Clusters, Estimate

__all__ = ["ranks", "spearman"]

Floats = NDArray[np.float64]


def ranks(values: ArrayLike) -> Floats:
    """Return the rank of each value, from 1; equal values share the mean of their ranks; shape `[n]`."""
    _, codes, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    mean_ranks: Floats = np.cumsum(counts) - (counts - 1) / 2
    return np.asarray(mean_ranks[codes])


def spearman(first: ArrayLike, second: ArrayLike, *, clusters: Clusters | None = None, seed: int = 0) -> Estimate:
    """Estimate Spearman's rank correlation; ranks are those of the whole set, also in resamples.

    Args:
        first: One finite number per observation; shape `[n]`.
        second: Likewise, in the same order; shape `[n]`.
        clusters: The conversation that each observation belongs to; by default each its own; shape `[n]`.
        seed: Of the resampling.

    Raises:
        InvalidInputError: The lengths differ, a number is not finite, or all values of a side are the same.
    """
    left, right = _standardised_ranks(first, "first"), _standardised_ranks(second, "second")
    if left.shape != right.shape or (clusters is not None and len(clusters) != len(left)):
        raise InvalidInputError(f"expected sides and clusters of one length, got {len(left)} and {len(right)} values")
    _, codes = np.unique(np.arange(len(left)) if clusters is None else np.asarray(clusters), return_inverse=True)
    moments = (left, right, left * right, left * left, right * right)
    return composite([Part(moment, codes.astype(np.int64)) for moment in moments], _correlation, seed=seed)


def _standardised_ranks(values: ArrayLike, side: str) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise InvalidInputError(f"expected finite numbers of shape [n] as the {side} side, got shape {array.shape}")
    if not array.size or (array == array[0]).all():
        raise InvalidInputError(f"expected values that differ as the {side} side, got {array.size} alike; none to rank")
    ranked = ranks(array)
    return np.asarray((ranked - ranked.mean()) / ranked.std())


def _correlation(means: Floats) -> Floats:
    """Return Pearson's correlation from the means of x, y, xy, xx and yy; shape `[resamples]`."""
    x, y, xy, xx, yy = means.T
    spread = np.sqrt(np.maximum((xx - x * x) * (yy - y * y), 0))
    # A resample of which one side does not vary has no correlation, and is not counted.
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.clip(np.where(spread > 1e-12, (xy - x * y) / spread, np.nan), -1, 1)
