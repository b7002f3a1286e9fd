"""The grid of an experiment, read from a TOML file: its arms, their training data, and the seeds."""

import tomllib
from collections import Counter
from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import Any, Self

from pydantic import Field, NonNegativeInt, ValidationError, model_validator

from music.config import Config
from music.errors import InvalidInputError
from music.sandbox import SKILLS
from music_agents.contrasts import Schedule, check_mix
from music_trainers.arms import TestSizes

__all__ = ["BASE", "GRIDS", "Ablation", "Arm", "ArmSettings", "Grid", "read_grid"]

BASE = "base"
"""The source of pairs that differ in the last turn only, in place of Skywork's set."""
GRIDS = Path(__file__).parent
"""Folder of the shipped grids, `default.toml` and `ablations.toml`."""
QUICK = TestSizes(num_defects=4, num_single_turn=40, num_conversations=8)
QUICK_SHARE = 20
"""A quick run takes one pair in this many."""


class ArmSettings(Config):
    """The training data of an arm's reward model."""

    pairs: dict[str, NonNegativeInt]
    """Number of pairs of each source: `base`, or a contrast in the form of `music simulate --strategy`, for example
    `forget(turns=2)`. The contrasts divide the seed contexts of the seed: the first contrast takes the first ones, and
    so on, so that arms with the same number of simulated pairs have the same contexts. Empty: the starting model,
    unchanged."""
    tokens_of: str = ""
    """An arm whose number of training tokens this one matches, by added base pairs."""
    num_turns: int = Field(default=5, ge=1)
    """T: simulated turns of each side."""
    schedule: str = "all"
    """Which simulated turns are contrasted, in the form of `music simulate --schedule`."""
    skill: str = "good"
    """Skill of the simulating models: `perfect`, `good`, `fair` or `weak`."""

    @model_validator(mode="after")
    def _can_be_simulated(self) -> Self:
        if self.contrasts:
            check_mix(dict.fromkeys(self.contrasts, 1.0))
        Schedule.parse(self.schedule).check(self.num_turns)
        if self.skill not in SKILLS:
            raise ValueError(f"skill: expected one of {', '.join(SKILLS)}, got {self.skill!r}")
        return self

    @property
    def contrasts(self) -> dict[str, int]:
        """The simulated sources, each with its number of pairs."""
        return {name: num for name, num in self.pairs.items() if name != BASE and num}


class Arm(Config):
    """A reward model of the grid, trained once per seed."""

    name: str = Field(min_length=1)
    """Unique in the grid."""
    description: str = ""
    """Its purpose, in one line."""
    settings: ArmSettings
    """Its training data."""
    against: tuple[str, ...] = ()
    """Arms that it is compared with."""


class Ablation(Config):
    """Variations of one arm, each with a few settings changed."""

    of: str
    """The arm that varies."""
    axis: str
    """The setting that changes, for people to read."""
    variations: dict[str, dict[str, Any]]
    """By label (a number if the axis is numeric), the settings that differ from the arm's; empty for the arm itself."""
    num_seeds: int | None = Field(default=None, ge=1)
    """Use only this many of the grid's seeds, the first ones; by default all."""


class Grid(Config):
    """The declaration of an experiment."""

    name: str = Field(pattern=r"^[\w.-]+$")
    """Name of the result files, so that several grids can share a folder and their common cells."""
    title: str
    """Title for people to read."""
    seeds: tuple[NonNegativeInt, ...]
    """Each arm is trained once per seed, which draws base pairs, simulation, and the order of training."""
    test_seed: int = 0
    """Seed of the test sets, which all arms and seeds share."""
    sizes: TestSizes
    """Sizes of the test sets."""
    arms: tuple[Arm, ...] = Field(min_length=1)
    ablations: dict[str, Ablation] = Field(default={})
    """By name."""

    @model_validator(mode="after")
    def _names_and_seeds_are_unique(self) -> Self:
        twice = [name for name, times in Counter(arm.name for arm in self.arms).items() if times > 1]
        if twice:
            raise ValueError(f"expected arms with unique names, got {twice[0]!r} twice")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"expected at least one seed, and each once, got {list(self.seeds)}")
        return self

    @model_validator(mode="after")
    def _arms_are_there(self) -> Self:
        by_name = {arm.name: arm for arm in self.arms}
        known = f"expected another arm out of {', '.join(by_name)}"
        for arm in self.arms:
            tokens_of = arm.settings.tokens_of
            for other in (*arm.against, *([tokens_of] if tokens_of else [])):
                if other not in by_name or other == arm.name:
                    raise ValueError(f"arm {arm.name!r}: {known}; got {other!r}")
            if tokens_of and by_name[tokens_of].settings.tokens_of:
                raise ValueError(f"arm {arm.name!r}: {tokens_of!r} itself matches the tokens of another arm")
        return self

    @model_validator(mode="after")
    def _variations_make_sense(self) -> Self:
        names = [arm.name for arm in self.arms]
        for name, ablation in self.ablations.items():
            if ablation.of not in names:
                raise ValueError(f"ablation {name!r}: expected `of` out of {', '.join(names)}; got {ablation.of!r}")
        for name in self.ablations:
            self.variations(name)
        return self

    def quick(self) -> Self:
        """Return the grid with two seeds and a twentieth of the pairs, to check that everything works."""
        title = f"{self.title} (a quick run: its figures mean nothing)"
        values = self.model_dump() | {"title": title, "seeds": self.seeds[:2], "sizes": QUICK.model_dump()}
        settings = [arm["settings"] for arm in values["arms"]]
        varied = [changes for ablation in values["ablations"].values() for changes in ablation["variations"].values()]
        for table in (table for table in (*settings, *varied) if "pairs" in table):
            table["pairs"] = {name: ceil(num / QUICK_SHARE) for name, num in table["pairs"].items()}
        return type(self).model_validate(values)

    def arm(self, name: str) -> Arm:
        """Return the arm of this name."""
        return next(arm for arm in self.arms if arm.name == name)

    def variations(self, name: str) -> dict[str, Arm]:
        """Return an ablation's arms by label; an earlier arm of the grid with the same settings is reused."""
        known = list(self.arms)
        for other, ablation in self.ablations.items():
            of, found = self.arm(ablation.of), {}
            for label, changes in ablation.variations.items():
                settings = ArmSettings.model_validate(of.settings.model_dump() | changes)
                varied = Arm(name=f"{other}: {label}", description=f"{of.name} with other settings", settings=settings)
                found[label] = next((arm for arm in known if arm.settings == settings), varied)
                known.append(found[label])
            if other == name:
                return found
        raise KeyError(name)

    def runs(self) -> dict[tuple[str, int], Arm]:
        """Return every training run of the grid, by the arm's name and the seed."""
        runs = {(arm.name, seed): arm for seed in self.seeds for arm in self.arms}
        for name, ablation in self.ablations.items():
            for seed in self.seeds[: ablation.num_seeds]:
                runs |= {(arm.name, seed): arm for arm in self.variations(name).values()}
        return runs


def read_grid(path: Path) -> Grid:
    """Read a grid from a TOML file.

    Raises:
        InvalidInputError: The file cannot be read, or is not a grid; the message names the key.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{path}: expected a readable TOML file, got: {error}") from error
    try:
        return Grid.model_validate(_gathered(values))
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'grid'}: {e['msg']}" for e in error.errors())
        raise InvalidInputError(
            f"{path}: expected a grid of arms (see `music experiment --help`), got: {faults}"
        ) from error


def _gathered(values: dict[str, Any]) -> dict[str, Any]:
    """Gather `[arms.NAME]` tables, which hold settings beside the arm's own keys, into arms."""
    own = set(Arm.model_fields) - {"name", "settings"}
    tables = values.get("arms")
    if not isinstance(tables, Mapping) or not all(isinstance(table, Mapping) for table in tables.values()):
        return values  # the model reports the error
    arms = [
        {"name": name, **{key: table[key] for key in table.keys() & own}}
        | {"settings": {key: value for key, value in table.items() if key not in own}}
        for name, table in tables.items()
    ]
    return values | {"arms": arms}
