"""The contrasts by name, with their parameters; `register_contrast` adds one.

A factory takes the `Cast` of a run and the contrast's parameters, and returns the role. Its annotations and defaults
are the parameters' types and defaults: what the command line gives is checked against them.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError, create_model

from music.errors import InvalidInputError
from music.llm.chat import AS_THE_ENDPOINT_DOES, ChatModel, Sampling
from music.names import did_you_mean
from music.prompts import ContrastFormat, PromptTemplate
from music_agents.contrasts.prompted import (
    DropConstraintContrast,
    InstructionContrast,
    PersonaSwapContrast,
    TwoCallContrast,
)
from music_agents.contrasts.unprompted import ForgetContrast, StaleContrast, WeakerModelContrast
from music_agents.roles import Speaker

__all__ = ["Cast", "ContrastFactory", "ContrastSpec", "contrast_names", "register_contrast"]

ContrastFactory = Callable[..., Speaker]
"""Takes a `Cast` and, by name, the contrast's parameters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """Who stands ready to play a contrast.

    Attributes:
        contrast: Plays the contrasts that have a prompt of their own.
        assistant: Answers on the chosen side; contrasts that only withhold or rewrite let it answer here too.
        weaker: Answers for `weaker_model`; None if that is not used.
        sampling: How the contrast's model samples.
        weaker_sampling: How the weaker one does.
        form: What contrasts with a prompt of their own ask for their reply in.
        template: A prompt of one's own for those that take one call; None for this package's.
    """

    contrast: ChatModel
    assistant: Speaker
    weaker: ChatModel | None = None
    sampling: Sampling = AS_THE_ENDPOINT_DOES
    weaker_sampling: Sampling = AS_THE_ENDPOINT_DOES
    form: ContrastFormat = ContrastFormat.TAGS
    template: PromptTemplate | None = None


def _instruction(cast: Cast) -> Speaker:
    return InstructionContrast(cast.contrast, cast.sampling, cast.form, cast.template)


def _instruction_two_call(cast: Cast) -> Speaker:
    return TwoCallContrast(cast.contrast, cast.assistant, cast.sampling, cast.form)


def _drop_constraint(cast: Cast) -> Speaker:
    return DropConstraintContrast(cast.contrast, cast.sampling, cast.form, cast.template)


def _persona_swap(cast: Cast) -> Speaker:
    return PersonaSwapContrast(cast.contrast, cast.sampling, cast.form, cast.template)


def _forget(cast: Cast, turns: PositiveInt = 1) -> Speaker:
    return ForgetContrast(cast.assistant, turns)


def _stale(cast: Cast) -> Speaker:
    return StaleContrast(cast.assistant)


def _weaker_model(cast: Cast) -> Speaker:
    if cast.weaker is None:
        raise InvalidInputError(
            "the contrast 'weaker_model' needs a weaker model to answer: name its endpoint (--weaker)"
        )
    return WeakerModelContrast(cast.weaker, cast.weaker_sampling)


_REGISTRY: dict[str, ContrastFactory] = {
    "instruction": _instruction,
    "instruction_two_call": _instruction_two_call,
    "drop_constraint": _drop_constraint,
    "persona_swap": _persona_swap,
    "forget": _forget,
    "stale": _stale,
    "weaker_model": _weaker_model,
}
_NAME = re.compile(r"[A-Za-z_][\w-]*")
_SPEC = re.compile(rf"({_NAME.pattern})\s*(?:\(([^()]*)\))?")


def register_contrast(name: str, factory: ContrastFactory) -> None:
    """Add a contrast under a name of its own.

    Args:
        name: As the command line and the output write it.
        factory: Takes a `Cast` and the contrast's parameters (`str`, `int` or `float`), and returns the role.

    Raises:
        InvalidInputError: The name is taken, or the command line could not write it.
    """
    if name in _REGISTRY:
        raise InvalidInputError(f"the contrast {name!r} is registered already: give yours another name")
    if not _NAME.fullmatch(name):
        raise InvalidInputError(f"expected a name of letters, digits, - and _, got {name!r}")
    _REGISTRY[name] = factory


def contrast_names() -> tuple[str, ...]:
    """Return the names of all registered contrasts."""
    return tuple(_REGISTRY)


@dataclass(frozen=True, slots=True)
class ContrastSpec:
    """A contrast as it is written: `instruction`, or `forget(turns=2)`.

    Attributes:
        name: Of the contrast.
        parameters: By name, as written.
    """

    name: str
    parameters: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a contrast as it is written.

        Raises:
            InvalidInputError: The text is neither a name nor a name with parameters in parentheses.
        """
        match = _SPEC.fullmatch(text.strip())
        given = [part.partition("=") for part in (match[2] or "").split(",") if part.strip()] if match else []
        if match is None or not all(name.strip() and value.strip() for name, _, value in given):
            raise InvalidInputError(f"expected NAME or NAME(PARAMETER=VALUE, ...), got {text.strip()!r}")
        return cls(match[1], {name.strip(): value.strip() for name, _, value in given})

    def __str__(self) -> str:
        """Return the contrast as it is written."""
        given = ",".join(f"{name}={value}" for name, value in self.parameters.items())
        return f"{self.name}({given})" if given else self.name

    def check(self) -> dict[str, Any]:
        """Return the parameters as their types, defaults included.

        Raises:
            InvalidInputError: No such contrast is registered, or it takes no such parameters.
        """
        if self.name not in _REGISTRY:
            near = did_you_mean(self.name, _REGISTRY) or "; one of your own is registered by --import FILE.py"
            raise InvalidInputError(f"expected contrasts out of {', '.join(_REGISTRY)}; got {self.name!r}{near}")
        known = _parameters(_REGISTRY[self.name])
        try:
            return known.model_validate(dict(self.parameters)).model_dump()
        except ValidationError as error:
            takes = ", ".join(f"{name}={known_.default}" for name, known_ in known.model_fields.items())
            wrong = "; ".join(f"{e['loc'][0]}: {e['msg']}" for e in error.errors())
            raise InvalidInputError(
                f"the contrast {self.name!r} takes {takes or 'no parameters'}; got {self} ({wrong})"
            ) from error

    def make(self, cast: Cast) -> Speaker:
        """Return the contrast's role.

        Raises:
            InvalidInputError: As `check`, or the cast lacks whom the contrast needs.
        """
        parameters = self.check()
        return _REGISTRY[self.name](cast, **parameters)


def _parameters(factory: ContrastFactory) -> type[BaseModel]:
    """Return the model of a factory's parameters: all of its arguments but the first."""
    _, *parameters = inspect.signature(factory, eval_str=True).parameters.values()
    fields: dict[str, Any] = {
        p.name: (Any if p.annotation is p.empty else p.annotation, ... if p.default is p.empty else p.default)
        for p in parameters
    }
    return create_model("ContrastParameters", __config__=ConfigDict(extra="forbid"), **fields)
