"""Pairs of hidden states to what a head is fitted on: comparisons of pairs, and with `per_turn` of their turns."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from music.reward.tokens.contract import Readout, turn_weights
from music_trainers.frozen.features import States
from music_trainers.frozen.head import Array, Comparisons
from music_trainers.reward.config import Objective
from music_trainers.reward.pairs import EncodedPair

__all__ = ["TrainingComparisons", "read_features"]


@dataclass(frozen=True, slots=True)
class TrainingComparisons:
    """The comparisons of the training pairs.

    Attributes:
        comparisons: The comparisons.
        prompts: The prompt of each.
        is_pair: Whether each compares whole conversations, not turns.
    """

    comparisons: Comparisons
    prompts: list[str]
    is_pair: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        objective: Objective,
        pairs: Sequence[EncodedPair],
        states: Sequence[tuple[States, States]],
        weights: Sequence[float],
    ) -> "TrainingComparisons":
        """Compare both sides of each pair.

        Args:
            objective: The readout, and the weights and margins of the loss.
            pairs: The pairs.
            states: Hidden states at the reads of chosen and rejected sides.
            weights: Weight of each pair.
        """
        rows = [
            (pair.seed, *row)
            for pair, sides, weight in zip(pairs, states, weights, strict=True)
            for row in _rows(objective, pair, sides, weight)
        ]
        prompts, differences, row_weights, margins, is_pair = zip(*rows, strict=True)
        comparisons = Comparisons.of(np.stack(differences), row_weights, np.array(margins))
        return cls(comparisons, list(prompts), np.array(is_pair))


def read_features(readout: Readout | None, states: States) -> Array:
    """Return the features of a conversation, `[hidden_size]`, whose product with a head is the conversation's score.

    A readout that is linear in the rewards after each turn is linear in the hidden states there.

    Raises:
        InvalidInputError: The readout is not linear.
    """
    weights = turn_weights(readout or "last", len(states))
    features: Array = np.average(states.astype(np.float64), axis=0, weights=weights)
    return features


def _rows(
    objective: Objective, pair: EncodedPair, sides: tuple[States, States], weight: float
) -> Iterator[tuple[Array, float, float, bool]]:
    """Yield difference, weight and margin of a pair and of its turns, and whether it is of the pair."""
    chosen, rejected = sides
    difference = read_features(objective.readout, chosen) - read_features(objective.readout, rejected)
    yield difference, weight, objective.margin + pair.margin, True
    if objective.per_turn:
        for ours, theirs in pair.turns:
            yield (
                chosen[ours].astype(np.float64) - rejected[theirs],
                weight * objective.per_turn / len(pair.turns),
                0.0,
                False,
            )
