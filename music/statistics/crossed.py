"""Estimates and tests over training seeds and test conversations at once: the crossed two-way analysis of variance.

`values[s, c]` is the result of training seed `s` on test conversation `c`; all seeds are tested on the same ones. Both
are random draws (Cornfield and Tukey 1956). The variance of the mean over S seeds and C conversations is

    (MSA + MSB - MSE) / (S C)

with the mean squares of the seeds, of the conversations and of the rest. Satterthwaite's approximation (1946) gives the
degrees of freedom of Student's t. A component of variance cannot be negative, so MSA and MSB count as at least MSE.
With few seeds that do not differ this is conservative: the test errs in less than 5 %. With a single seed, only the
conversations are drawn, and the test is the paired t test.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from music.errors import InvalidInputError
from music.statistics.estimates import Clusters, Estimate, cluster_sums, standard_error
from music.statistics.families import minimum_detectable_effect
from music.statistics.proportions import bounded_estimate

__all__ = ["CrossedDifference", "crossed_difference", "crossed_mean", "crossed_proportion"]

_ROUNDING = 1e-12  # relative to the largest value: a spread below it is rounding

Floats = NDArray[np.float64]
Alternative = Literal["two-sided", "greater", "less"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossedDifference:
    """A paired difference over training seeds and test conversations.

    Attributes:
        estimate: The mean difference. It has no interval if all seeds and conversations show the same difference, or if
            there is a single conversation.
        p_value: Of the test that was asked for. Where the same difference shows everywhere, that of the sign test over
            conversations.
        df: The degrees of freedom of Student's t.
    """

    estimate: Estimate
    p_value: float
    df: float

    @property
    def minimum_detectable(self) -> float:
        """The true distance from the null that such a comparison would find four times in five.

        It holds for a two-sided test at the 5 % level, and for a one-sided test at 2.5 %. Infinite without an interval.
        """
        return minimum_detectable_effect(self.estimate, df=self.df)


@dataclass(frozen=True, slots=True)
class _Crossed:
    """The mean of a table, its standard error with its degrees of freedom, and the number of conversations."""

    value: float
    error: float
    df: float
    num: int


def crossed_mean(values: ArrayLike, *, clusters: Clusters | None = None) -> Estimate:
    """Estimate a mean over training seeds and test items.

    Args:
        values: Finite numbers; shape `[seeds, items]`. With a single seed the interval covers the items alone.
        clusters: The conversation of each item, shape `[items]`; by default each is its own.

    Raises:
        InvalidInputError: There are no values, some are not finite, or `clusters` has another length.
    """
    found = _analysed(_checked(values), clusters)
    return Estimate.students(found.value, found.error, found.df, found.num)


def crossed_proportion(values: ArrayLike, *, clusters: Clusters | None = None) -> Estimate:
    """Estimate a mean of values within [0, 1], such as hits and misses, over training seeds and test items.

    The interval is Wilson's, for as many independent hits as would vary as much; see `proportion`.

    Raises:
        InvalidInputError: As for `crossed_mean`, or a value is not within [0, 1].
    """
    array = _checked(values)
    if array.min() < 0 or array.max() > 1:
        raise InvalidInputError(f"expected values within [0, 1], got {array.min():g} to {array.max():g}")
    found = _analysed(array, clusters)
    most = array.size if np.isin(array, (0, 1)).all() else np.inf
    return bounded_estimate(found.value, found.error, found.df, found.num, most=most)


def crossed_difference(
    values: ArrayLike,
    baseline: ArrayLike,
    *,
    clusters: Clusters | None = None,
    null: float = 0.0,
    alternative: Alternative = "two-sided",
) -> CrossedDifference:
    """Test the mean of `values - baseline`, paired by training seed and by test item.

    Args:
        values: Finite numbers; shape `[seeds, items]`.
        baseline: The numbers that are subtracted, of the same shape.
        clusters: As for `crossed_mean`.
        null: The difference under the null hypothesis. For a test of non-inferiority it is minus the margin.
        alternative: The claim to test: the difference is not `null`, `greater` than it, or `less`.

    Raises:
        InvalidInputError: As for `crossed_mean`, or the two differ in shape.
    """
    ours, theirs = _checked(values), _checked(baseline)
    if ours.shape != theirs.shape:
        raise InvalidInputError(f"expected two sides of one shape, got {ours.shape} and {theirs.shape}")
    found = _analysed(ours - theirs, clusters)
    estimate = Estimate.students(found.value, found.error, found.df, found.num)
    return CrossedDifference(estimate=estimate, p_value=_p_value(found, null, alternative), df=found.df)


def _p_value(found: _Crossed, null: float, alternative: Alternative) -> float:
    distance = found.value - null
    claimed = {"two-sided": abs(distance), "greater": distance, "less": -distance}[alternative]
    num_sides = 2 if alternative == "two-sided" else 1
    if found.num == 1 or (found.error == 0 and claimed <= 0):
        return 1.0
    if found.error == 0:
        return float(num_sides * 2.0**-found.num)
    from scipy.special import stdtr

    return float(num_sides * stdtr(found.df, -claimed / found.error))


def _analysed(values: Floats, clusters: Clusters | None) -> _Crossed:
    """Analyse the variance of the residuals of whole conversations, so that items weigh alike."""
    by_seed = [cluster_sums(row, clusters) for row in values]
    sums, counts = np.stack([sums for sums, _ in by_seed]), by_seed[0][1]
    num_seeds, num = sums.shape
    value = float(sums.sum() / num_seeds / counts.sum())
    if num_seeds == 1 or num == 1:
        return _Crossed(value, standard_error(sums[0], counts), num - 1, num)
    residuals = (sums - counts * value) * (num / counts.sum())  # items in clusters of one size: values less the mean
    if np.abs(residuals).max() <= _ROUNDING * np.abs(values).max():
        return _Crossed(value, 0.0, num - 1, num)
    seeds, columns = residuals.mean(axis=1, keepdims=True), residuals.mean(axis=0)
    rest_df = (num_seeds - 1) * (num - 1)
    mse = float(((residuals - seeds - columns) ** 2).sum()) / rest_df
    msa = max(mse, num * float((seeds**2).sum()) / (num_seeds - 1))
    msb = max(mse, num_seeds * float((columns**2).sum()) / (num - 1))
    total = msa + msb - mse
    df = total**2 / (msa**2 / (num_seeds - 1) + msb**2 / (num - 1) + mse**2 / rest_df)
    return _Crossed(value, float(np.sqrt(total / (num_seeds * num))), df, num)


def _checked(values: ArrayLike) -> Floats:
    """Return the values as a table of finite numbers."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or not array.size:
        raise InvalidInputError(f"expected numbers of shape [seeds, items], at least one, got shape {array.shape}")
    if not np.isfinite(array).all():
        row, column = np.argwhere(~np.isfinite(array))[0]
        raise InvalidInputError(
            f"expected finite numbers, got {array[row, column]} for seed {row}, item {column}; every seed must be "
            "tested on the same items: leave out that seed or that item"
        )
    return array
