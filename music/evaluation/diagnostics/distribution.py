"""The distribution of rewards: scale, margins, ties; and rewards and accuracy by number of turns."""

import numpy as np

from music.evaluation.benchmarks.pairs import MANY_TURNS, turns_name
from music.evaluation.diagnostics.scored_pairs import Floats, ScoredPairs
from music.report.points import Curve, Histogram
from music.statistics import Figure

__all__ = ["distribution_figures", "reward_histogram", "turn_curves", "turn_figures"]

TABLE = "distribution"
NUM_BINS = 30
TURNS = "turns"


def distribution_figures(pairs: ScoredPairs) -> list[Figure]:
    """Return the means of the rewards, their standard deviation, the margin and the share of ties."""
    chosen, rejected = pairs.rewards.T
    everywhere = np.ones(len(chosen), bool)
    moments = [(values, everywhere) for values in (pairs.rewards.mean(axis=1), (pairs.rewards**2).mean(axis=1))]
    num_distinct = len(np.unique(pairs.rewards))

    def deviation(means: Floats) -> Floats:
        return np.asarray(np.sqrt(np.maximum(means[:, 1] - means[:, 0] ** 2, 0)))

    def margin(means: Floats) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(means[:, 2] / deviation(means))

    return [
        pairs.mean("reward of the chosen side", TABLE, chosen),
        pairs.mean("reward of the rejected side", TABLE, rejected),
        pairs.of_means("standard deviation", TABLE, moments, deviation, null=None),
        pairs.of_means(
            "margin, in standard deviations", TABLE, [*moments, (pairs.margins, everywhere)], margin, null=0.0
        ),
        pairs.share("ties", TABLE, (pairs.margins == 0).astype(float), note=f"{num_distinct} distinct rewards"),
    ]


def reward_histogram(pairs: ScoredPairs) -> Histogram:
    """Return the histogram of the rewards of both sides, in bins of equal width."""
    edges = np.histogram_bin_edges(pairs.rewards, NUM_BINS)
    sides = {name: np.histogram(pairs.rewards[:, side], edges)[0] for side, name in enumerate(("chosen", "rejected"))}
    counts = {name: tuple(of_side.tolist()) for name, of_side in sides.items()}
    return Histogram(name="rewards", table=TABLE, x="reward", edges=tuple(edges.tolist()), counts=counts)


def turn_figures(pairs: ScoredPairs) -> list[Figure]:
    """Return the accuracy for each number of turns, and the correlation of rewards with the number of turns."""
    turns = _turns(pairs)
    capped = np.minimum(turns[:, 0], MANY_TURNS).astype(int)
    by_number = [pairs.accuracy(turns_name(number), TURNS, capped == number) for number in np.unique(capped).tolist()]
    return [
        *by_number,
        pairs.correlation("rank correlation, reward", TURNS, pairs.rewards, turns, note="over all sides"),
    ]


def turn_curves(pairs: ScoredPairs) -> list[Curve]:
    """Return the curves of reward and accuracy over the number of turns."""
    x, turns = "turns", _turns(pairs)
    return [
        pairs.reward_curve("reward by turns", TURNS, x, turns),
        pairs.accuracy_curve("accuracy by turns", TURNS, x, turns[:, 0]),
    ]


def _turns(pairs: ScoredPairs) -> Floats:
    """Return the number of turns of both sides; shape `[pairs, 2]`."""
    return np.array([[float(side.num_turns) for side in item.completions] for item in pairs.items])
