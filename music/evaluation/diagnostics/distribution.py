"""How rewards are spread: their scale, how far the sides stand apart, ties."""

import numpy as np

from music.evaluation.diagnostics.scored_pairs import Floats, ScoredPairs
from music.report.points import Histogram
from music.statistics import Figure

__all__ = ["distribution_figures", "reward_histogram"]

TABLE = "distribution"
NUM_BINS = 30


def distribution_figures(pairs: ScoredPairs) -> list[Figure]:
    """Return the rewards' means and spread."""
    chosen, rejected = pairs.rewards.T
    everywhere = np.ones(len(chosen), bool)
    moments = [(values, everywhere) for values in (pairs.rewards.mean(axis=1), (pairs.rewards**2).mean(axis=1))]
    num_distinct = len(np.unique(pairs.rewards))
    return [
        pairs.mean("reward of the chosen side", TABLE, chosen),
        pairs.mean("reward of the rejected side", TABLE, rejected),
        pairs.of_means("standard deviation", TABLE, moments, _deviation, null=None),
        pairs.of_means(
            "margin, in standard deviations", TABLE, [*moments, (pairs.margins, everywhere)], _gap, null=0.0
        ),
        pairs.mean("ties", TABLE, (pairs.margins == 0).astype(float), note=f"{num_distinct} distinct rewards"),
    ]


def reward_histogram(pairs: ScoredPairs) -> Histogram:
    """Count the rewards of both sides in bins of one width."""
    edges = np.histogram_bin_edges(pairs.rewards, NUM_BINS)
    sides = {name: np.histogram(pairs.rewards[:, side], edges)[0] for side, name in enumerate(("chosen", "rejected"))}
    counts = {name: tuple(of_side.tolist()) for name, of_side in sides.items()}
    return Histogram(name="rewards", table=TABLE, x="reward", edges=tuple(edges.tolist()), counts=counts)


def _deviation(means: Floats) -> Floats:
    deviation: Floats = np.sqrt(np.maximum(means[:, 1] - means[:, 0] ** 2, 0))
    return deviation


def _gap(means: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        gap: Floats = means[:, 2] / _deviation(means)
    return gap
