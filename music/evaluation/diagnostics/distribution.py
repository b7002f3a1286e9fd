"""How rewards are spread: their scale, how far the sides stand apart, ties; and by number of turns."""

import numpy as np

from music.evaluation.diagnostics.scored_pairs import Floats, ScoredPairs
from music.report.points import Curve, Histogram
from music.statistics import Figure

__all__ = ["distribution_figures", "reward_histogram", "turn_curves", "turn_figures"]

TABLE = "distribution"
NUM_BINS = 30
TURNS = "turns"
MANY_TURNS = 6
"""So many turns and more are one figure."""


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


def turn_figures(pairs: ScoredPairs) -> list[Figure]:
    """Return accuracy for each number of turns, and whether longer conversations score higher or lower."""
    turns = _turns(pairs)
    capped = np.minimum(turns[:, 0], MANY_TURNS).astype(int)
    by_number = [pairs.accuracy(_name(number), TURNS, capped == number) for number in np.unique(capped).tolist()]
    return [
        *by_number,
        pairs.correlation("rank correlation, reward", TURNS, pairs.rewards, turns, note="over all sides"),
    ]


def turn_curves(pairs: ScoredPairs) -> list[Curve]:
    """Return the reward and accuracy over the number of turns."""
    x, turns = "turns", _turns(pairs)
    return [
        pairs.reward_curve("reward by turns", TURNS, x, turns),
        pairs.accuracy_curve("accuracy by turns", TURNS, x, turns[:, 0]),
    ]


def _name(number: int) -> str:
    return f"{number} turn{'s' * (number != 1)}" if number < MANY_TURNS else f"{MANY_TURNS} turns or more"


def _turns(pairs: ScoredPairs) -> Floats:
    """Return the number of turns of both sides; shape `[pairs, 2]`."""
    return np.array([[float(side.num_turns) for side in item.completions] for item in pairs.items])
