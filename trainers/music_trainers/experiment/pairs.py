"""The training pairs of an arm: drawn from files or the sandbox, and pairs that match another arm's tokens or pairs.

A `Simulation` runs once for all arms that share it. It works like `music simulate`, but without a server.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from music.errors import InvalidInputError
from music.pairs import ContrastivePair, PreferencePair
from music.preferences import read_preferences, write_preferences
from music.sandbox import SandboxModel, seed_pairs
from music_agents import AssistantRole, RoleSet, Schedule, UserRole, build_pair_graph, make_contrast, simulate
from music_trainers.experiment.arm import BASE, ArmSettings
from music_trainers.experiment.sources import Source, drawn_order, read_source

__all__ = ["CountTokens", "MadePairs", "Pairs", "Simulation", "run_simulated", "simulated_pairs", "simulations"]

NUM_CONTEXTS = 5000
"""Seed conversations of every simulation, independent of its number of pairs, so that arms share them."""
CHUNK = 256
"""Pairs whose tokens are counted at a time."""

Pairs = dict[str, list[PreferencePair]]
"""Pairs by source."""
CountTokens = Callable[[Sequence[PreferencePair]], list[int]]
"""Returns the number of tokens on both sides of each pair, as training counts them; 0 for a pair without a score."""


class Simulation(BaseModel):
    """One contrast that is simulated with one seed and some settings."""

    model_config = ConfigDict(frozen=True)

    contrast: str
    num_turns: int
    schedule: str
    skill: str
    memory: bool
    seed: int

    @property
    def name(self) -> str:
        """Its name for people to read."""
        memory = ", memory" if self.memory else ""
        return f"{self.contrast}, T={self.num_turns}, {self.schedule}, {self.skill}{memory}, seed {self.seed}"

    def path(self, folder: Path, num: int) -> Path:
        """Return the file of the first `num` pairs."""
        memory = "-memory" if self.memory else ""
        name = f"{self.contrast}-{num}-turns{self.num_turns}-{self.schedule}-{self.skill}{memory}.parquet"
        return folder / f"seed-{self.seed}" / name.replace(":", "_")


def simulations(
    settings: ArmSettings, contrasts: Mapping[str, int], seed: int, *, memory: bool = False
) -> dict[Simulation, slice]:
    """Return the simulations of an arm, and the part of each that it uses; the parts have different seed contexts."""
    parts: dict[Simulation, slice] = {}
    begin = 0
    for contrast, num in contrasts.items():
        simulation = Simulation(
            contrast=contrast,
            num_turns=settings.num_turns,
            schedule=settings.schedule,
            skill=settings.skill,
            memory=memory,
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
    return list(_read(simulation.path(folder, num))[part])


@dataclass(frozen=True, slots=True)
class MadePairs:
    """The pairs that the arms of one seed draw.

    Attributes:
        seed: The seed.
        sources: The sources of files.
        num_simulated: How many pairs were made in each simulation.
        folder: Folder of the simulated pairs.
        count_tokens: Counts the tokens of pairs.
        memory: Whether the sandbox's users have memory.
        left_out: Keys of prompts (see `prompts_of`) whose pairs are left out of the sources of files.
    """

    seed: int
    sources: Mapping[str, Source]
    num_simulated: Mapping[Simulation, int]
    folder: Path
    count_tokens: CountTokens
    memory: bool = False
    left_out: frozenset[str] = frozenset()

    def of(self, settings: ArmSettings) -> Pairs:
        """Return the pairs of some settings."""
        pairs = {BASE: self._base(settings.pairs[BASE])} if self._is_of_sandbox(BASE, settings) else {}
        contrasts = {name: num for name, num in settings.pairs.items() if name not in (BASE, *self.sources) and num}
        for simulation, part in simulations(settings, contrasts, self.seed, memory=self.memory).items():
            num = self.num_simulated[simulation]
            pairs[simulation.contrast] = simulated_pairs(simulation, num, part, self.folder)
        for name, num in settings.pairs.items():
            if name in self.sources and num:
                pairs[name] = list(self._drawn(name, 0, num))
        return pairs

    def matched(self, arm: str, settings: ArmSettings, other: ArmSettings) -> Pairs:
        """Return the pairs of some settings, and more of their `fill` until there is as much as in another arm.

        Args:
            arm: Name of the arm, for errors.
            settings: Its settings.
            other: The settings of the arm that it matches.

        Raises:
            InvalidInputError: There are not enough pairs.
        """
        count: CountTokens = self.count_tokens if settings.tokens_of else lambda pairs: [1] * len(pairs)
        pairs = self.of(settings)
        wanted, given = (sum(sum(count(some)) for some in each.values()) for each in (self.of(other), pairs))
        num, missing, more = settings.pairs.get(settings.fill, 0), wanted - given, list[PreferencePair]()
        for pair, size in self._fill(settings.fill, num, count) if missing > 0 else ():
            more.append(pair)
            missing -= size
            if missing <= 0:
                break
        if missing > 0:
            what = "tokens" if settings.tokens_of else "pairs"
            raise InvalidInputError(
                f"arms.{arm}.fill: expected enough pairs of {settings.fill!r} for the {wanted:,} training {what} of "
                f"{settings.matches!r}, but {missing:,} {what} are missing after all pairs of "
                f"{self.sources[settings.fill].named}: add pairs to it, or fill from another source"
            )
        return pairs | {settings.fill: [*pairs.get(settings.fill, []), *more]} if more else pairs

    def _is_of_sandbox(self, name: str, settings: ArmSettings) -> bool:
        return name not in self.sources and settings.pairs.get(name, 0) > 0

    def _base(self, num: int) -> list[PreferencePair]:
        # Simulations take the even seeds, so no conversation is in two seeds or in both sources.
        return seed_pairs(num, 2 * self.seed + 1, memory=self.memory)

    def _drawn(self, name: str, begin: int, end: int | None) -> Iterator[PreferencePair]:
        """Yield the pairs of a source of files from one place to another in the order of the draw."""
        read = read_source(name, self.sources[name])
        for index in drawn_order(name, len(read.pairs), self.seed)[begin:end]:
            if self.left_out.isdisjoint(read.prompts[index]):
                yield read.pairs[index]

    def _fill(self, name: str, num: int, count: CountTokens) -> Iterator[tuple[PreferencePair, int]]:
        """Yield the pairs of a source after its first `num`, with their sizes."""
        for chunk in self._chunks_of_file(name, num) if name in self.sources else self._chunks_of_base(num):
            yield from zip(chunk, count(chunk), strict=True)

    def _chunks_of_file(self, name: str, num: int) -> Iterator[list[PreferencePair]]:
        pairs = list(self._drawn(name, num, None))
        yield from (pairs[start : start + CHUNK] for start in range(0, len(pairs), CHUNK))

    def _chunks_of_base(self, num: int) -> Iterator[list[PreferencePair]]:
        """Yield base pairs without end, each chunk as large as all before it."""
        begin, end = num, num + CHUNK
        while True:
            yield self._base(end)[begin:]
            begin, end = end, 2 * end - num


@cache
def _read(path: Path) -> tuple[PreferencePair, ...]:
    return read_preferences(path).pairs


async def _simulated(simulation: Simulation, num: int) -> list[ContrastivePair]:
    model = SandboxModel(simulation.skill, simulation.seed, memory=simulation.memory)
    models = {"contrast": model, "weaker": SandboxModel("weak", simulation.seed)}
    roles = RoleSet(user=UserRole(model), assistant=AssistantRole(model), models=models)
    contrast = make_contrast({simulation.contrast: 1.0}, roles, Schedule.parse(simulation.schedule))
    graph = build_pair_graph(replace(roles, contrast=contrast))
    # Base pairs take the odd seeds, so no conversation is in two seeds or in both sources.
    seeds = seed_pairs(NUM_CONTEXTS, 2 * simulation.seed, single_turn_share=1.0, memory=simulation.memory)
    outcomes = simulate(seeds, graph, num_pairs=num, num_turns=simulation.num_turns, seed=simulation.seed)
    async with aclosing(outcomes):
        return [outcome async for outcome in outcomes if isinstance(outcome, ContrastivePair)]
