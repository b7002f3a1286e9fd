"""Figures made of several means, such as an average over subsets or a rank correlation, with intervals.

Prompts are resampled whole and for all parts at once. Parts that share prompts (the same problem in six programming
languages, the same answer under two margins) are therefore not treated as independent. For prompts with equal values,
such as hits and misses, only their number is drawn: the distribution is the same, and 100k prompts are cheap. The
percentiles are taken further out for few prompts (Hesterberg 2015, "What teachers should know about the bootstrap"), as
plain ones are too narrow. A mean alone is better estimated by `mean` or `proportion`.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from music.errors import InvalidInputError
from music.statistics.estimates import Clusters, Estimate, quantile_t

__all__ = ["Component", "Statistic", "cluster_totals", "component_means", "composite", "spearman", "weighted_sum"]

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]
"""Maps the means of the parts, shape `[resamples, parts]`, to the figure, shape `[resamples]`."""

NUM_RESAMPLES = 2000
_MAX_DRAWS = 4_000_000  # numbers in memory at once
_ROUNDING = 1e-12
_FREQUENT = 50  # drawing the number of one kind costs about as much as this many single draws


@dataclass(frozen=True, slots=True, eq=False)
class Component:
    """One of the means that a figure is made of.

    Attributes:
        values: One finite number per observation, at least one; shape `[n]`.
        clusters: The number of each observation's unit, the same in all parts; shape `[n]`.
    """

    values: Floats
    clusters: NDArray[np.int64]


def weighted_sum(parts: Sequence[Component], weights: Sequence[float], *, seed: int = 0) -> Estimate:
    """Estimate the sum of the parts' means, each times its weight."""
    return composite(parts, lambda means: means @ np.asarray(weights, dtype=np.float64), seed=seed)


def composite(parts: Sequence[Component], statistic: Statistic, *, seed: int = 0) -> Estimate:
    """Estimate a statistic of the parts' means.

    Resamples that leave a part without any unit are not counted. If a part has a single unit, or no resample
    differs, the interval is infinite. Hits alone, or misses alone, vary as their exact
    interval does; other parts that never vary add no width.

    Args:
        parts: The parts, at least one.
        statistic: The statistic of their means.
        seed: Seed of the resampling.
    """
    totals = cluster_totals(parts)
    num_units = np.count_nonzero(totals[:, len(parts) :], axis=0)
    value = float(statistic(component_means(totals.sum(axis=0, keepdims=True)))[0])
    if num_units.min() < 2:
        return Estimate.of_unknown_spread(value, len(totals))
    tail = _tail(int(num_units.min()))
    means = component_means(_resampled(totals, seed))
    _vary_equal_hits(means, parts, num_units, seed + 1)
    low, high = np.nanquantile(statistic(means), [tail, 1 - tail])
    if max(high - value, value - low) <= _ROUNDING * max(1.0, abs(value)):
        return Estimate.of_unknown_spread(value, len(totals))
    return Estimate(value, min(float(low), value), max(float(high), value), len(totals))  # rounding aside


def spearman(first: ArrayLike, second: ArrayLike, *, clusters: Clusters | None = None, seed: int = 0) -> Estimate:
    """Estimate Spearman's rank correlation; resamples keep the ranks of the whole set.

    Args:
        first: One finite number per observation; shape `[n]`.
        second: One finite number per observation, in the same order; shape `[n]`.
        clusters: The conversation of each observation, shape `[n]`; by default each is its own.
        seed: Seed of the resampling.

    Raises:
        InvalidInputError: The lengths differ, a number is not finite, or all values of a side are the same.
    """
    left, right = _standardised_ranks(first, "first"), _standardised_ranks(second, "second")
    if left.shape != right.shape or (clusters is not None and len(clusters) != len(left)):
        raise InvalidInputError(f"expected sides and clusters of one length, got {len(left)} and {len(right)} values")
    _, codes = np.unique(np.arange(len(left)) if clusters is None else np.asarray(clusters), return_inverse=True)
    moments = (left, right, left * right, left * left, right * right)
    return composite([Component(moment, codes.astype(np.int64)) for moment in moments], _correlation, seed=seed)


def _vary_equal_hits(means: Floats, parts: Sequence[Component], num_units: NDArray[np.int64], seed: int) -> None:
    """Give parts that are hits alone, or misses alone, the variation that resamples of them cannot show.

    The share among n hits becomes `U ** (1 / n)` with a uniform U, so its quantiles are Clopper and Pearson's ends.
    """
    rng = np.random.default_rng(seed)
    for number, (part, num) in enumerate(zip(parts, num_units.tolist(), strict=True)):
        value = float(part.values[0])
        if value in (0, 1) and (part.values == value).all():
            shortfall = 1 - rng.random(len(means)) ** (1 / num)
            means[:, number] += shortfall if value == 0 else -shortfall  # NaN remains where a part has no unit


def _tail(num: int) -> float:
    """Return the share of resamples beyond each end, by which the interval is as wide as Student's."""
    return NormalDist().cdf(-math.sqrt(num / (num - 1)) * quantile_t(num - 1))


def cluster_totals(parts: Sequence[Component]) -> Floats:
    """Return for each cluster the sums of its values and then their counts, by part; shape `[clusters, 2 * parts]`."""
    _, codes = np.unique(np.concatenate([part.clusters for part in parts]), return_inverse=True)
    num_clusters = int(codes.max()) + 1
    own = np.split(codes, np.cumsum([len(part.clusters) for part in parts])[:-1])
    sums = [np.bincount(code, part.values, num_clusters) for code, part in zip(own, parts, strict=True)]
    return np.stack([*sums, *(np.bincount(code, minlength=num_clusters) for code in own)], axis=1)


def _resampled(totals: Floats, seed: int) -> Floats:
    """Return the totals of resamples of whole clusters; shape `[resamples, 2 * parts]`."""
    rng = np.random.default_rng(seed)
    rows = [row.tobytes() for row in totals]
    frequent = {row: num for row, num in Counter(rows).items() if num >= _FREQUENT}
    others = totals[[row not in frequent for row in rows]]
    shares = np.array([*frequent.values(), len(others)]) / len(totals)
    numbers = rng.multinomial(len(totals), shares, NUM_RESAMPLES)
    sums = np.zeros((NUM_RESAMPLES, totals.shape[1]))
    if frequent:
        sums += numbers[:, :-1] @ np.frombuffer(b"".join(frequent), dtype=np.float64).reshape(len(frequent), -1)
    if len(others):
        block = max(1, _MAX_DRAWS // len(others))
        for start in range(0, NUM_RESAMPLES, block):
            sums[start : start + block] += _drawn(others, numbers[start : start + block, -1], rng)
    return sums


def _drawn(rows: Floats, numbers: NDArray[np.int64], rng: np.random.Generator) -> Floats:
    """Return sums of `numbers[r]` rows drawn with replacement, for each resample r; shape `[resamples, columns]`."""
    places = np.repeat(np.arange(len(numbers)) * len(rows), numbers) + rng.integers(len(rows), size=numbers.sum())
    times = np.bincount(places, minlength=len(numbers) * len(rows)).reshape(len(numbers), len(rows))
    return np.asarray(times.astype(np.float64) @ rows)


def component_means(totals: Floats) -> Floats:
    """Return the parts' means; NaN for a part without a unit."""
    num_parts = totals.shape[1] // 2
    with np.errstate(invalid="ignore"):
        return totals[:, :num_parts] / totals[:, num_parts:]


def _standardised_ranks(values: ArrayLike, side: str) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise InvalidInputError(f"expected finite numbers of shape [n] as the {side} side, got shape {array.shape}")
    if not array.size or (array == array[0]).all():
        raise InvalidInputError(f"expected values that differ as the {side} side, got {array.size} equal ones")
    from scipy.stats import rankdata

    ranked = rankdata(array)
    return np.asarray((ranked - ranked.mean()) / ranked.std())


def _correlation(means: Floats) -> Floats:
    """Return Pearson's correlation from the means of x, y, xy, xx and yy; shape `[resamples]`."""
    x, y, xy, xx, yy = means.T
    spread = np.sqrt(np.maximum((xx - x * x) * (yy - y * y), 0))
    # A resample in which one side does not vary has no correlation and is not counted.
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.clip(np.where(spread > 1e-12, (xy - x * y) / spread, np.nan), -1, 1)
