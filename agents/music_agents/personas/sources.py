"""Sources of personas: a file, a column of the seed file, a sampler, the sandbox's world.

All draws depend on the run's seed and the pair's index alone, so a resumed run gets the same personas.
"""

import hashlib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError

from music.errors import InvalidInputError
from music.names import did_you_mean, nearest_path
from music.preferences.problems import RowError
from music.preferences.rows import read_column
from music.preferences.sources import iter_rows
from music.registry import SANDBOX, load_built_in
from music.seeding import derive_seed
from music_agents.personas.persona import Persona, PersonaSource
from music_agents.personas.sampler import PersonaSampler
from music_agents.seeds import Seed

__all__ = ["ColumnPersonas", "ListedPersonas", "SandboxPersonas", "load_personas", "read_persona_file"]

_WORDS = ("column:NAME", "sampler", "sandbox")
_SPECS = "FILE (.jsonl, .json or .toml), column:NAME, sampler, sampler:FILE.toml or sandbox"


@dataclass(frozen=True, slots=True)
class ListedPersonas:
    """Personas of a list, drawn uniformly.

    Attributes:
        personas: At least one.
    """

    personas: tuple[Persona, ...]

    def __call__(self, index: int, seed: Seed, run_seed: int) -> Persona:
        """Draw the persona of a pair."""
        return self.personas[derive_seed(run_seed, index, "persona") % len(self.personas)]

    def digest(self) -> str:
        """Return a fingerprint of the list."""
        return f"{len(self.personas)} personas, digest {_digest(enumerate(self.personas))}"


@dataclass(frozen=True, slots=True)
class ColumnPersonas:
    """Personas of a column of the seed file, by pair id; other pairs have no persona.

    Attributes:
        name: Name of the column.
        personas: By the seed's id.
    """

    name: str
    personas: Mapping[str, Persona] = field(repr=False)

    @classmethod
    def read(cls, seeds: str | Path, name: str, *, split: str | None = None) -> "ColumnPersonas":
        """Read a column: each value a sentence, a persona as JSON text (as `music simulate` writes it) or an object.

        Raises:
            InvalidInputError: The column does not exist, or a value in it is not a persona.
        """
        cells = read_column(seeds, name, split=split).items()
        return cls(name, {id_: _persona(_cell(cell), f"{seeds}, {name} of {id_}") for id_, cell in cells if cell})

    def __call__(self, index: int, seed: Seed, run_seed: int) -> Persona | None:
        """Return the persona of the seed pair."""
        return self.personas.get(seed.id)

    def digest(self) -> str:
        """Return a fingerprint of the column."""
        return f"column {self.name}, {len(self.personas)} personas, digest {_digest(self.personas.items())}"


@dataclass(frozen=True, slots=True)
class SandboxPersonas:
    """Personas of the sandbox, whose simulated users follow them; they agree with what the seed states."""

    def __call__(self, index: int, seed: Seed, run_seed: int) -> Persona:
        """Draw the persona of a pair."""
        draw = load_built_in("personas", SANDBOX)
        facts, wishes = draw(seed.conversation, derive_seed(run_seed, index, "persona"))
        return Persona(facts=facts, constraints=wishes)

    def digest(self) -> str:
        """Return the name of the source."""
        return "sandbox"


def load_personas(spec: str, seeds: str | Path | None = None, *, split: str | None = None) -> PersonaSource:
    """Load a source of personas.

    Args:
        spec: `FILE`, `column:NAME` (of the seed file), `sampler`, `sampler:FILE.toml` or `sandbox`.
        seeds: The seed file, folder or hub id; only columns need it.
        split: Which split of a hub data set.

    Raises:
        InvalidInputError: The source does not exist, or it holds invalid personas.
    """
    kind, _, name = spec.partition(":")
    if spec == SANDBOX:
        return SandboxPersonas()
    if kind == "sampler":
        return PersonaSampler.read(name) if name else PersonaSampler.default()
    if kind == "column" and name:
        if seeds is None:
            raise InvalidInputError(f"personas {spec!r}: expected a seed file that has the column")
        return ColumnPersonas.read(seeds, name, split=split)
    if not Path(spec).is_file():
        raise InvalidInputError(
            f"personas: expected {_SPECS}; got {spec!r}, and there is no such file"
            f"{did_you_mean(spec, _WORDS) or nearest_path(spec)}"
        )
    return ListedPersonas(read_persona_file(spec))


def read_persona_file(path: str | Path) -> tuple[Persona, ...]:
    """Read a file of personas, each a sentence or an object with a persona's fields.

    Args:
        path: JSON lines, a JSON array, or TOML with an array `personas`.

    Raises:
        InvalidInputError: The file cannot be read or is empty, or a persona is invalid; the message names its place.
    """
    if Path(path).suffix == ".toml":
        places = enumerate(_toml_list(path), start=1)
        personas = tuple(_persona(value, f"{path}, persona {number}") for number, value in places)
    else:
        rows = iter_rows(path)
        personas = tuple(_persona(row.content, f"{path}, {row.unit} {row.number}") for row in rows)
    if not personas:
        raise InvalidInputError(f"{path}: expected at least one persona, found none")
    return personas


def _toml_list(path: str | Path) -> list[Any]:
    """Return the personas of a TOML file."""
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise InvalidInputError(f"{path}: expected TOML with [[personas]]; {error}") from error
    found = content.get("personas")
    if not isinstance(found, list) or len(content) > 1:
        raise InvalidInputError(
            f"{path}: expected an array `personas` and nothing else; got {', '.join(content) or '{}'}"
        )
    return found


def _cell(cell: Any) -> Any:
    """Return a cell as a sentence or an object, without the null fields that tables add to objects."""
    if isinstance(cell, str) and cell.lstrip().startswith("{"):
        try:
            return orjson.loads(cell)
        except orjson.JSONDecodeError:
            return cell
    return {name: value for name, value in cell.items() if value is not None} if isinstance(cell, dict) else cell


def _persona(value: Any, place: str) -> Persona:
    """Return a sentence or an object as a persona."""
    try:
        if isinstance(value, RowError):
            raise InvalidInputError(f"{place}, {value}")
        return Persona.of(value) if isinstance(value, str) else Persona.model_validate(value)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"])) or "persona"
        got = repr(fault["input"])[:60]
        known = f"; fields: {', '.join(Persona.model_fields)}" if fault["type"] == "extra_forbidden" else ""
        raise InvalidInputError(f"{place}, {where}: {fault['msg']}; got {got}{known}") from error


def _digest(personas: Iterable[tuple[object, Persona]]) -> str:
    """Return a fingerprint of personas and their keys, in their order."""
    digest = hashlib.blake2b(digest_size=8)
    for name, persona in personas:
        digest.update(f"{name}\0{persona.model_dump_json()}\0".encode())
    return digest.hexdigest()
