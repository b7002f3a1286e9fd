"""The training pairs of an arm: base pairs, simulated pairs, and base pairs that match another arm's tokens.

A `Simulation` runs once for all arms that share it. It works like `music simulate`, but without a server.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from music.pairs import ContrastivePair, PreferencePair
from music.preferences import read_preferences, write_preferences
from music.sandbox import SandboxModel, seed_pairs
from music.sandbox.artifacts import REWARD_MODEL
from music_agents import AssistantRole, RoleSet, Schedule, UserRole, build_pair_graph, make_contrast, simulate
from music_trainers.experiment.grid import BASE, ArmSettings

__all__ = ["MadePairs", "Simulation", "num_tokens", "run_simulated", "simulated_pairs", "simulations"]

NUM_CONTEXTS = 5000
"""Seed conversations of every simulation, independent of its number of pairs, so that arms share them."""


class Simulation(BaseModel):
    """One contrast that is simulated with one seed and some settings."""

    model_config = ConfigDict(frozen=True)

    contrast: str
    num_turns: int
    schedule: str
    skill: str
    seed: int

    @property
    def name(self) -> str:
        """Its name for people to read."""
        return f"{self.contrast}, T={self.num_turns}, {self.schedule}, {self.skill}, seed {self.seed}"

    def path(self, folder: Path, num: int) -> Path:
        """Return the file of the first `num` pairs."""
        name = f"{self.contrast}-{num}-turns{self.num_turns}-{self.schedule}-{self.skill}.parquet"
        return folder / f"seed-{self.seed}" / name.replace(":", "_")


def simulations(settings: ArmSettings, seed: int) -> dict[Simulation, slice]:
    """Return the simulations of an arm, and the part of each that it uses; the parts have different seed contexts."""
    parts: dict[Simulation, slice] = {}
    begin = 0
    for contrast, num in settings.contrasts.items():
        simulation = Simulation(
            contrast=contrast,
            num_turns=settings.num_turns,
            schedule=settings.schedule,
            skill=settings.skill,
            seed=seed,
        )
        parts[simulation] = slice(begin, begin + num)
        begin += num
    return parts


def run_simulated(simulation: Simulation, num: int, folder: Path) -> None:
    """Simulate pairs and write their file."""
    pairs = asyncio.run(_simulated(simulation, num))
    write_preferences(sorted(pairs, key=lambda pair: pair.id), simulation.path(folder, num))


def simulated_pairs(simulation: Simulation, num: int, part: slice, folder: Path) -> list[PreferencePair]:
    """Read a part of the simulated pairs."""
    return list(read_preferences(simulation.path(folder, num)).pairs[part])


Pairs = dict[str, list[PreferencePair]]
"""Pairs by source."""


@dataclass(frozen=True, slots=True)
class MadePairs:
    """The pairs of one seed.

    Attributes:
        seed: Seed of the base pairs.
        num_simulated: How many pairs were made in each simulation.
        folder: Folder of the simulated pairs.
    """

    seed: int
    num_simulated: Mapping[Simulation, int]
    folder: Path

    def of(self, settings: ArmSettings) -> Pairs:
        """Return the pairs of some settings."""
        pairs = {BASE: self._base(settings.pairs.get(BASE, 0))}
        for simulation, part in simulations(settings, self.seed).items():
            num = self.num_simulated[simulation]
            pairs[simulation.contrast] = simulated_pairs(simulation, num, part, self.folder)
        return pairs

    def matched(self, settings: ArmSettings, other: ArmSettings) -> Pairs:
        """Return the pairs of some settings, and more base pairs until there are as many tokens as in another arm."""
        pairs = self.of(settings)
        wanted, given = (sum(map(num_tokens, some.values())) for some in (self.of(other), pairs))
        pairs[BASE] = self._with_tokens(len(pairs[BASE]), wanted - given)
        return pairs

    def _base(self, num: int) -> list[PreferencePair]:
        # Simulations take the even seeds, so no conversation is in two seeds or in both sources.
        return seed_pairs(num, 2 * self.seed + 1)

    def _with_tokens(self, num: int, wanted: int) -> list[PreferencePair]:
        """Return `num` base pairs, and as many more as have `wanted` tokens."""
        size = 256
        while sum(tokens := _tokens((pairs := self._base(num + size))[num:])) < wanted:
            size *= 2
        return pairs[: num + sum(total < wanted for total in accumulate(tokens, initial=0))]


def num_tokens(pairs: Sequence[PreferencePair]) -> int:
    """Return the number of tokens on both sides of pairs, as training counts them."""
    return sum(_tokens(pairs))


def _tokens(pairs: Sequence[PreferencePair]) -> list[int]:
    from music.reward import RewardModel
    from music_trainers.reward.pairs import encode_pairs

    encoded, _ = encode_pairs(RewardModel.from_pretrained(REWARD_MODEL).tokens, pairs)
    return [pair.num_tokens for pair in encoded]


async def _simulated(simulation: Simulation, num: int) -> list[ContrastivePair]:
    model = SandboxModel(simulation.skill, simulation.seed)
    models = {"contrast": model, "weaker": SandboxModel("weak", simulation.seed)}
    roles = RoleSet(user=UserRole(model), assistant=AssistantRole(model), models=models)
    contrast = make_contrast({simulation.contrast: 1.0}, roles, Schedule.parse(simulation.schedule))
    graph = build_pair_graph(replace(roles, contrast=contrast))
    # Base pairs take the odd seeds, so no conversation is in two seeds or in both sources.
    seeds = seed_pairs(NUM_CONTEXTS, 2 * simulation.seed, single_turn_share=1.0)
    outcomes = simulate(seeds, graph, num_pairs=num, num_turns=simulation.num_turns, seed=simulation.seed)
    async with aclosing(outcomes):
        return [outcome async for outcome in outcomes if isinstance(outcome, ContrastivePair)]
