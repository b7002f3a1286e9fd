"""The reward and its accuracy by number of turns."""

import numpy as np

from music.evaluation.diagnostics.scored_pairs import Floats, ScoredPairs
from music.report.points import Curve
from music.statistics import Figure

__all__ = ["turn_curves", "turn_figures"]

TABLE = "turns"
MANY_TURNS = 6
"""So many turns and more are one figure."""


def turn_figures(pairs: ScoredPairs) -> list[Figure]:
    """Return accuracy for each number of turns, and whether longer conversations score higher or lower."""
    turns = _turns(pairs)
    capped = np.minimum(turns[:, 0], MANY_TURNS).astype(int)
    by_number = [pairs.accuracy(_name(number), TABLE, capped == number) for number in np.unique(capped).tolist()]
    return [
        *by_number,
        pairs.correlation("rank correlation, reward", TABLE, pairs.rewards, turns, note="over all sides"),
    ]


def turn_curves(pairs: ScoredPairs) -> list[Curve]:
    """Return the reward and accuracy over the number of turns."""
    x, turns = "turns", _turns(pairs)
    return [
        pairs.reward_curve("reward by turns", TABLE, x, turns),
        pairs.accuracy_curve("accuracy by turns", TABLE, x, turns[:, 0]),
    ]


def _name(number: int) -> str:
    return f"{number} turn{'s' * (number != 1)}" if number < MANY_TURNS else f"{MANY_TURNS} turns or more"


def _turns(pairs: ScoredPairs) -> Floats:
    """Return the number of turns of both sides; shape `[pairs, 2]`."""
    return np.array([[float(side.num_turns) for side in item.completions] for item in pairs.items])
