"""What an arm is trained on, by source: base pairs, simulated ones, and base pairs to match another arm's tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from music.pairs import PreferencePair
from music.sandbox import seed_pairs
from music.sandbox.artifacts import REWARD_MODEL
from music_trainers.experiment.grid import BASE, ArmSettings
from music_trainers.experiment.simulation import Simulation, simulated_pairs, simulations

__all__ = ["MadePairs", "num_tokens"]

Pairs = dict[str, list[PreferencePair]]
"""By source."""


@dataclass(frozen=True, slots=True)
class MadePairs:
    """The pairs of one seed.

    Attributes:
        seed: Draws the base pairs.
        num_simulated: How many pairs were made in each simulation.
        folder: Where they lie.
    """

    seed: int
    num_simulated: Mapping[Simulation, int]
    folder: Path

    def of(self, settings: ArmSettings) -> Pairs:
        """Return the pairs that settings name."""
        pairs = {BASE: self._base(settings.pairs.get(BASE, 0))}
        for simulation, part in simulations(settings, self.seed).items():
            num = self.num_simulated[simulation]
            pairs[simulation.contrast] = simulated_pairs(simulation, num, part, self.folder)
        return pairs

    def matched(self, settings: ArmSettings, other: ArmSettings) -> Pairs:
        """Return the pairs that settings name, and base pairs until there are as many tokens as in another arm."""
        pairs = self.of(settings)
        wanted, given = (sum(map(num_tokens, some.values())) for some in (self.of(other), pairs))
        pairs[BASE] = self._with_tokens(len(pairs[BASE]), wanted - given)
        return pairs

    def _base(self, num: int) -> list[PreferencePair]:
        # Simulations take the even ones: no conversation serves two seeds, or both sources.
        return seed_pairs(num, 2 * self.seed + 1)

    def _with_tokens(self, num: int, wanted: int) -> list[PreferencePair]:
        """Return `num` base pairs and as many more as it takes to have so many tokens more."""
        size = 256
        while sum(tokens := _tokens((pairs := self._base(num + size))[num:])) < wanted:
            size *= 2
        return pairs[: num + sum(total < wanted for total in accumulate(tokens, initial=0))]


def num_tokens(pairs: Sequence[PreferencePair]) -> int:
    """Return the tokens of both sides of pairs, as training counts them."""
    return sum(_tokens(pairs))


def _tokens(pairs: Sequence[PreferencePair]) -> list[int]:
    from music.reward import RewardModel
    from music_trainers.reward.pairs import encode_pairs

    encoded, _ = encode_pairs(RewardModel.from_pretrained(REWARD_MODEL).tokens, pairs)
    return [pair.num_tokens for pair in encoded]
