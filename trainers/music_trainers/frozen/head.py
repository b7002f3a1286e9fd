"""`fit_head`: the linear head that best ranks pairs of features, by L-BFGS; `choose_ridge`: how strongly to shrink it.

The loss of a head `w` on the differences `d = chosen - rejected` of the pairs is Bradley-Terry, which is a logistic
regression without intercept:

    mean(-log sigmoid(w . d - margin)) + ridge / 2 * sum((scale * w)^2)

The mean is weighted, and `scale` is the root mean square of each feature's differences, so that one ridge suits
features of any size. The loss is convex and has one minimum. All is computed in fp64.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.optimize import minimize
from scipy.special import expit

from music.errors import InvalidInputError

__all__ = ["RIDGES", "Comparisons", "HeadFit", "RidgeTrial", "choose_ridge", "fit_head", "fit_heads"]

Array: TypeAlias = NDArray[np.float64]

RIDGES = tuple(float(f"{10**exponent:.3g}") for exponent in np.arange(3, -4.5, -0.5))
"""The strengths that are tried, from the strongest."""
NUM_FOLDS = 5
"""Parts of the prompts, each of which measures the ridges once."""
_OPTIONS = {"maxiter": 5_000, "maxfun": 10_000, "maxcor": 20, "gtol": 1e-7, "ftol": 1e-14}


@dataclass(frozen=True, slots=True)
class Comparisons:
    """The differences that a head should make positive.

    Attributes:
        differences: Features of the better side less those of the worse side, `[comparisons, features]`.
        weights: Weights of the comparisons in the mean loss, `[comparisons]`.
        margins: By how much the better side should win, `[comparisons]`.
    """

    differences: Array
    weights: Array
    margins: Array

    @classmethod
    def of(cls, differences: Array, weights: Sequence[float] | Array | None, margins: Array | None) -> "Comparisons":
        """Return comparisons, by default of equal weight and without margins.

        Raises:
            InvalidInputError: A number is not finite, shapes do not fit, or no weight is positive.
        """
        num = len(differences)
        weight = np.ones(num) if weights is None else np.asarray(weights, np.float64)
        margin = np.zeros(num) if margins is None else np.asarray(margins, np.float64)
        if weight.shape != (num,) or margin.shape != (num,):
            raise InvalidInputError(
                f"expected one weight and one margin for each of {num} pairs, got {weight.shape} and {margin.shape}"
            )
        if not (weight >= 0).all() or not np.isfinite(weight).all() or not weight.sum() > 0:
            raise InvalidInputError("expected weights >= 0 of which one is positive")
        if not (np.isfinite(differences).all() and np.isfinite(margin).all()):
            raise InvalidInputError("expected features and margins that are finite numbers, got NaN or infinity")
        return cls(np.asarray(differences, np.float64), weight, margin)

    def take(self, rows: NDArray[np.intp]) -> "Comparisons":
        """Return some of the comparisons."""
        return Comparisons(self.differences[rows], self.weights[rows], self.margins[rows])

    def nll(self, weight: Array) -> float:
        """Return a head's weighted mean loss, without margins."""
        losses = np.logaddexp(0, -self.differences @ weight)
        return float(self.weights @ losses / self.weights.sum())


@dataclass(frozen=True, slots=True)
class HeadFit:
    """A fitted head.

    Attributes:
        weight: The head, `[features]`.
        ridge: The strength of its penalty.
        loss: The minimised loss, with the penalty.
        num_iterations: Steps of L-BFGS.
    """

    weight: Array
    ridge: float
    loss: float
    num_iterations: int


class RidgeTrial(BaseModel):
    """A ridge and the NLL of its head on held-out pairs."""

    model_config = ConfigDict(frozen=True)

    ridge: float
    nll: float


def fit_head(
    features_chosen: Array | NDArray[np.float32],
    features_rejected: Array | NDArray[np.float32],
    weights: Sequence[float] | Array | None = None,
    *,
    ridge: float,
    margins: Array | None = None,
    label_smoothing: float = 0.0,
) -> HeadFit:
    """Fit the head that ranks the chosen features above the rejected ones.

    Args:
        features_chosen: Features of the better sides, `[pairs, features]`.
        features_rejected: Features of the worse sides, of the same shape.
        weights: Weights of the pairs; equal by default.
        ridge: Strength of the penalty, > 0; see `choose_ridge`.
        margins: By how much the better side should win; 0 by default.
        label_smoothing: Share of the labels that are taken to be wrong.

    Raises:
        InvalidInputError: Shapes do not fit, or numbers are not finite.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> chosen, rejected = rng.normal(0.5, 1, (100, 3)), rng.normal(0, 1, (100, 3))
        >>> fit_head(chosen, rejected, ridge=0.01).weight.round(1)
        array([0.4, 0.5, 0.7])
    """
    if features_chosen.ndim != 2 or features_chosen.shape != features_rejected.shape:
        raise InvalidInputError(
            f"expected two arrays of shape [pairs, features], got {features_chosen.shape} and {features_rejected.shape}"
        )
    differences = features_chosen.astype(np.float64) - features_rejected
    comparisons = Comparisons.of(differences, weights, margins)
    return next(fit_heads(comparisons, [ridge], label_smoothing))


def fit_heads(comparisons: Comparisons, ridges: Sequence[float], label_smoothing: float = 0.0) -> Iterator[HeadFit]:
    """Yield a head for each ridge. Each fit starts from the one before, so that a path of ridges costs little more.

    Raises:
        InvalidInputError: A ridge is not positive.
    """
    shares = comparisons.weights / comparisons.weights.sum()
    scale = np.sqrt(shares @ comparisons.differences**2)
    scale[scale == 0] = 1.0  # a feature that never differs gets a weight of zero
    scaled = comparisons.differences / scale
    # Features are correlated, which would take L-BFGS hundreds of steps. Along the axes of their second moments, and
    # stretched so that the curvature at zero is the same along all of them, it takes about ten.
    moments, axes = np.linalg.eigh(scaled.T @ (shares[:, None] * scaled))
    rotated, head = scaled @ axes, np.zeros(scaled.shape[1])
    for ridge in ridges:
        if not ridge > 0:
            raise InvalidInputError(f"expected a ridge > 0, got {ridge}")
        stretch = (moments.clip(0) / 4 + ridge) ** -0.5

        def loss(point: Array, ridge: float = ridge, stretch: Array = stretch) -> tuple[float, Array]:
            head = stretch * point
            gaps = rotated @ head - comparisons.margins
            value = shares @ (np.logaddexp(0, -gaps) + label_smoothing * gaps) + ridge / 2 * head @ head
            slopes = rotated.T @ (shares * (label_smoothing - expit(-gaps))) + ridge * head
            return float(value), stretch * slopes

        found = minimize(loss, head / stretch, jac=True, method="L-BFGS-B", options=_OPTIONS)
        head = stretch * found.x
        yield HeadFit(axes @ head / scale, ridge, float(found.fun), int(found.nit))


def choose_ridge(
    comparisons: Comparisons,
    prompts: Sequence[str],
    *,
    is_pair: NDArray[np.bool_] | None = None,
    label_smoothing: float = 0.0,
    seed: int = 0,
) -> tuple[float, list[RidgeTrial]]:
    """Return the ridge of `RIDGES` with the lowest held-out NLL, and the NLL of each.

    Each fifth of the prompts is held out once, and heads are fitted to the pairs of the others.

    Args:
        comparisons: The training comparisons.
        prompts: The prompt of each; all comparisons of a prompt are held out together.
        is_pair: Which comparisons count in the NLL; all by default.
        label_smoothing: As in `fit_head`.
        seed: Seed of the folds.

    Raises:
        InvalidInputError: There is only one prompt.
    """
    names, numbers = np.unique(np.array(prompts), return_inverse=True)
    if len(names) < 2:
        raise InvalidInputError(
            f"expected pairs of at least 2 different prompts to choose a ridge, got {len(names)}: choose one (--ridge)"
        )
    folds = (np.random.default_rng(seed).permutation(len(names)) % NUM_FOLDS)[numbers]
    counts = np.ones(len(prompts), bool) if is_pair is None else is_pair
    sums = np.zeros(len(RIDGES))
    for fold in np.unique(folds):
        held_out = comparisons.take(np.flatnonzero((folds == fold) & counts))
        fits = fit_heads(comparisons.take(np.flatnonzero(folds != fold)), RIDGES, label_smoothing)
        sums += held_out.weights.sum() * np.array([held_out.nll(fit.weight) for fit in fits])
    nlls = sums / comparisons.weights[counts].sum()
    trials = [RidgeTrial(ridge=ridge, nll=float(nll)) for ridge, nll in zip(RIDGES, nlls, strict=True)]
    return RIDGES[int(nlls.argmin())], trials
