"""The grid of an experiment, read from a TOML file: its arms, their training data, the measures and the seeds."""

import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any, Self

from pydantic import Field, NonNegativeInt, ValidationError, model_validator

from music.config import Config
from music.errors import InvalidInputError
from music.names import did_you_mean
from music_agents.contrasts import check_mix
from music_trainers.experiment.arm import BASE, Ablation, Arm, ArmSettings, ModelSettings
from music_trainers.experiment.hypotheses import Hypothesis
from music_trainers.experiment.measures import Measure
from music_trainers.experiment.sandbox import SandboxSettings, sandbox_infos
from music_trainers.experiment.sources import Source

__all__ = ["GRIDS", "Grid", "read_grid"]

GRIDS = Path(__file__).parent
"""Folder of the shipped grids, `default.toml` and `ablations.toml`."""
QUICK = {"num_defects": 4, "num_single_turn": 40, "num_conversations": 8}
QUICK_SHARE, QUICK_PAIRS = 20, 16
"""A quick run takes one pair in this many, and at least this many pairs of each source, or all of fewer."""
QUICK_PROMPTS = 20
"""Prompts of each measure in a quick run."""


class Grid(Config):
    """The declaration of an experiment."""

    name: str = Field(pattern=r"^[\w.-]+$")
    """Name of the result files, so that several grids can share a folder and their common cells."""
    title: str
    """Title for people to read."""
    seeds: tuple[NonNegativeInt, ...]
    """Each arm is trained once per seed, which draws pairs, simulation, and the order of training."""
    looked_at: tuple[NonNegativeInt, ...] = ()
    """Seeds that were used for looking at results before the experiment was declared; see `look`."""
    is_look: bool = False
    """Whether `seeds` are for looking, so that no hypothesis is tested; set by `look`."""
    folds: int = Field(default=1, ge=1)
    """Parts of the test prompts. If there are several, a model is trained for each, without the pairs of its prompts,
    and measures its items."""
    test_seed: int = 0
    """Seed of the sandbox's test sets, which all arms and seeds share."""
    model: ModelSettings | None = None
    """The model that all arms start from; by default the sandbox's starting model, all of whose weights are trained."""
    sandbox: SandboxSettings | None = None
    """The sandbox's measures, and the sizes of their test sets; by default none."""
    sources: dict[str, Source] = Field(default={})
    """Files of training pairs, by name."""
    arms: tuple[Arm, ...] = Field(min_length=1)
    measures: dict[str, Measure] = Field(default={})
    """Benchmarks on files, by name."""
    hypotheses: dict[str, Hypothesis] = Field(default={})
    """The claims that are tested, by name."""
    ablations: dict[str, Ablation] = Field(default={})
    """By name."""

    @model_validator(mode="after")
    def _seeds_are_unique(self) -> Self:
        twice = [name for name, times in Counter(arm.name for arm in self.arms).items() if times > 1]
        if twice:
            raise ValueError(f"expected arms with unique names, got {twice[0]!r} twice")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds: expected at least one seed, and each once, got {list(self.seeds)}")
        if both := sorted({*self.seeds} & {*self.looked_at}):
            raise ValueError(
                f"looked_at: expected seeds that are not in `seeds`, got {', '.join(map(str, both))}: a seed that was "
                "looked at cannot test anything; give `seeds` others"
            )
        return self

    @model_validator(mode="after")
    def _measures_something(self) -> Self:
        if not (self.sandbox or self.measures):
            raise ValueError("expected something to measure: a table [sandbox], or [measures.NAME]")
        if self.sandbox and self.folds > 1:
            raise ValueError(
                "folds: expected 1 with [sandbox], whose test conversations are in no training data; leave one out"
            )
        if taken := self.measures.keys() & {info.name for info in sandbox_infos(self.sandbox)} if self.sandbox else ():
            raise ValueError(f"measures.{min(taken)}: expected another name, as the sandbox has a measure of this one")
        return self

    @model_validator(mode="after")
    def _arms_are_there(self) -> Self:
        by_name = {arm.name: arm for arm in self.arms}
        for arm in self.arms:
            others = [name for name in by_name if name != arm.name]
            for key, named in (("against", arm.against), *((key, [value]) for key, value in _matched(arm.settings))):
                _require_known(f"arms.{arm.name}.{key}", "another arm", named, others)
            if arm.settings.matches and by_name[arm.settings.matches].settings.matches:
                raise ValueError(
                    f"arms.{arm.name}: expected to match an arm with a number of pairs of its own, but "
                    f"{arm.settings.matches!r} itself matches another arm"
                )
        return self

    @model_validator(mode="after")
    def _sources_are_there(self) -> Self:
        for arm in self.arms:
            self._require_sources(f"arms.{arm.name}", arm.settings)
        return self

    @model_validator(mode="after")
    def _hypotheses_are_about_what_is_there(self) -> Self:
        for name, hypothesis in self.hypotheses.items():
            arms = [arm.name for arm in self.arms]
            for key, value in (("arm", hypothesis.arm), ("control", hypothesis.control)):
                _require_known(f"hypotheses.{name}.{key}", "an arm", [value], arms)
            _require_known(f"hypotheses.{name}.measure", "a measure", [hypothesis.measure], self.measure_names)
        return self

    @model_validator(mode="after")
    def _variations_make_sense(self) -> Self:
        for name, ablation in self.ablations.items():
            _require_known(f"ablations.{name}.of", "an arm", [ablation.of], [arm.name for arm in self.arms])
        for name in self.ablations:
            for label, arm in self.variations(name).items():
                self._require_sources(f"ablations.{name}.variations.{label}", arm.settings)
        return self

    @property
    def measure_names(self) -> list[str]:
        """The names of all measures, in the order of reports."""
        return [*(info.name for info in (sandbox_infos(self.sandbox) if self.sandbox else ())), *self.measures]

    def quick(self) -> Self:
        """Return the grid with two seeds and a twentieth of the pairs, to check that everything works."""
        title = f"{self.title} (a quick run: its figures mean nothing)"
        values = self.model_dump() | {"title": title, "seeds": self.seeds[:2]}
        if self.sandbox:
            values["sandbox"] |= QUICK
        for measure in values["measures"].values():
            measure["limit"] = min(QUICK_PROMPTS, measure["limit"] or QUICK_PROMPTS)
        settings = [arm["settings"] for arm in values["arms"]]
        varied = [changes for ablation in values["ablations"].values() for changes in ablation["variations"].values()]
        for table in (table for table in (*settings, *varied) if "pairs" in table):
            table["pairs"] = {name: _few(num) for name, num in table["pairs"].items()}
        return type(self).model_validate(values)

    def look(self) -> Self:
        """Return the grid with the seeds for looking alone, whose results test no hypothesis.

        Raises:
            InvalidInputError: The grid has no such seeds.
        """
        if not self.looked_at:
            raise InvalidInputError(
                f"--look: expected a grid with seeds for looking, but {self.name} has none: add looked_at = [...]"
            )
        looked = {"name": f"{self.name}-look", "title": f"{self.title} (a look)", "seeds": self.looked_at}
        return type(self).model_validate(self.model_dump() | looked | {"looked_at": (), "is_look": True})

    def arm(self, name: str) -> Arm:
        """Return the arm of this name."""
        return next(arm for arm in self.arms if arm.name == name)

    def contrasts(self, settings: ArmSettings) -> dict[str, int]:
        """Return the simulated sources of an arm, each with its number of pairs."""
        return {name: num for name, num in settings.pairs.items() if num and name not in (BASE, *self.sources)}

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

    def _require_sources(self, key: str, settings: ArmSettings) -> None:
        """Refuse names that are neither sources of files nor of the sandbox."""
        try:
            if simulated := [name for name in settings.pairs if name not in (BASE, *self.sources)]:
                check_mix(dict.fromkeys(simulated, 1.0))
        except ValueError as error:
            declared = f"sources out of {', '.join(self.sources)}, or of the sandbox: " if self.sources else ""
            raise ValueError(f"{key}.pairs: {declared}{error}") from error
        if settings.matches:
            _require_known(f"{key}.fill", "a source", [settings.fill], [*self.sources, BASE])


def read_grid(path: Path) -> Grid:
    """Read a grid from a TOML file.

    Raises:
        InvalidInputError: The file cannot be read, or is not a grid; the message names the key.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{path}: expected a readable TOML file, got: {error}") from error
    gathered = _gathered(values)
    try:
        return Grid.model_validate(gathered)
    except ValidationError as error:
        faults = "; ".join(
            f"{_key(e['loc'], gathered)}{e['msg'].removeprefix('Value error, ')}" for e in error.errors()
        )
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


def _key(place: Sequence[str | int], gathered: Mapping[str, Any]) -> str:
    """Return the TOML key of a fault, with a colon; empty for the whole grid, whose messages name keys themselves."""
    parts = list(place)
    if parts[:1] == ["arms"] and len(parts) > 1:
        parts[1] = gathered["arms"][parts[1]]["name"]
        parts = [part for part in parts if part != "settings"]
    return f"{'.'.join(map(str, parts))}: " if parts else ""


def _matched(settings: ArmSettings) -> Iterator[tuple[str, str]]:
    """Yield the key and the name of an arm that another one matches."""
    yield from ((key, name) for key in ("tokens_of", "pairs_of") if (name := getattr(settings, key)))


def _require_known(key: str, what: str, names: Iterable[str], known: Iterable[str]) -> None:
    for name in names:
        if name not in (all_known := list(known)):
            hint = did_you_mean(name, all_known)
            raise ValueError(f"{key}: expected {what} out of {', '.join(all_known) or 'none'}; got {name!r}{hint}")


def _few(num: int) -> int:
    """Return the number of pairs of a quick run."""
    return min(num, max(QUICK_PAIRS, ceil(num / QUICK_SHARE)))
