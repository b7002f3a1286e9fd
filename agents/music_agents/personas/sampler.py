"""A sampler of personas: independent attributes, each drawn from a weighted list."""

import hashlib
import random
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError, model_validator

from music.errors import InvalidInputError
from music.seeding import derive_seed
from music_agents.personas.persona import Patience, Persona
from music_agents.seeds import Seed

__all__ = ["PersonaSampler", "Weighted"]

DEFAULT_LIBRARY = Path(__file__).parent / "default.toml"


class Weighted(BaseModel):
    """One value of an attribute; in a file, the bare value has the weight 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: str
    """The value; empty to leave the attribute out."""
    weight: PositiveFloat = 1.0
    """How often it is drawn, relative to the other values of its list."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"value": value} if isinstance(value, str) else value


class PersonaSampler(BaseModel):
    """Draws a value from each list, independently; the fields are those of `Persona`.

    `facts` and `constraints` hold lists under names of your own; a persona gets one value of each list.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    who: tuple[Weighted, ...] = ()
    """Who the user is."""
    goal: tuple[Weighted, ...] = ()
    """What the user wants from the conversation."""
    facts: Mapping[str, tuple[Weighted, ...]] = Field(default_factory=dict)
    """What is true of the user."""
    constraints: Mapping[str, tuple[Weighted, ...]] = Field(default_factory=dict)
    """Standing wishes on every reply."""
    style: tuple[Weighted, ...] = ()
    """How the user writes."""
    patience: tuple[Weighted, ...] = ()
    """How the user reacts to replies that miss the point: low, medium, high, or empty."""

    @model_validator(mode="after")
    def _draws_personas(self) -> "PersonaSampler":
        if unknown := {w.value for w in self.patience} - {*Patience, ""}:
            raise ValueError(f"patience: expected {', '.join(Patience)}; got {', '.join(sorted(unknown))}")
        if not any((self.who, self.goal, self.facts, self.constraints, self.style)):
            raise ValueError("expected a list of who, goal or style, or a table of facts or constraints")
        return self

    @classmethod
    def read(cls, path: str | Path) -> "PersonaSampler":
        """Read the lists from a TOML file.

        Raises:
            InvalidInputError: The file cannot be read, or a field of it is invalid.
        """
        try:
            return cls.model_validate(tomllib.loads(Path(path).read_text(encoding="utf-8")))
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(map(str, fault["loc"])) or "lists"
            raise InvalidInputError(f"{path}, {where}: {fault['msg']}; got {repr(fault['input'])[:60]}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
            raise InvalidInputError(f"{path}: expected TOML with lists of values; {error}") from error

    @classmethod
    def default(cls) -> "PersonaSampler":
        """Return the sampler over the built-in library, which fits any seed."""
        return cls.read(DEFAULT_LIBRARY)

    def __call__(self, index: int, seed: Seed, run_seed: int) -> Persona | None:
        """Draw the persona of a pair; None if all drawn values are empty."""
        rng = random.Random(derive_seed(run_seed, index, "persona"))
        who, goal, style, patience = (_draw(v, rng) for v in (self.who, self.goal, self.style, self.patience))
        facts = tuple(filter(None, (_draw(values, rng) for values in self.facts.values())))
        constraints = tuple(filter(None, (_draw(values, rng) for values in self.constraints.values())))
        if not any((who, goal, style, facts, constraints)):
            return None
        return Persona(
            who=who,
            goal=goal,
            facts=facts,
            constraints=constraints,
            style=style,
            patience=Patience(patience) if patience else None,
        )

    def digest(self) -> str:
        """Return a fingerprint of the lists."""
        return f"sampler, digest {hashlib.blake2b(self.model_dump_json().encode(), digest_size=8).hexdigest()}"


def _draw(values: tuple[Weighted, ...], rng: random.Random) -> str:
    """Draw a value by weight; the empty string from an empty list."""
    return rng.choices([w.value for w in values], [w.weight for w in values])[0] if values else ""
