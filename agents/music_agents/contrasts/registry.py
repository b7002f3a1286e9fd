"""The contrasts by name, with their parameters; `register_contrast` adds one.

A factory takes the `RoleSet` of a run and the contrast's parameters, and returns the contrast. Its annotations and
defaults are the types and defaults of the parameters: values from the command line are checked against them.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError, create_model

from music.errors import InvalidInputError
from music.names import did_you_mean
from music_agents.contrasts.prompted import (
    ContradictContrast,
    DropConstraintContrast,
    IgnoreCorrectionContrast,
    InstructionContrast,
    LoseGoalContrast,
    PersonaSwapContrast,
    PromptedContrast,
    TwoCallContrast,
)
from music_agents.contrasts.unprompted import ForgetContrast, StaleContrast, WeakerModelContrast
from music_agents.roles import RoleSet, Speaker

__all__ = ["ContrastFactory", "ContrastSpec", "contrast_names", "register_contrast"]

ContrastFactory = Callable[..., Speaker]
"""Takes a `RoleSet` without its contrast, and the contrast's parameters by name."""


def _prompted(kind: type[PromptedContrast]) -> ContrastFactory:
    def make(roles: RoleSet) -> Speaker:
        sampling = roles.sampling_of("contrast")
        return kind(roles.model("contrast"), sampling, roles.contrast_format, roles.contrast_template)

    return make


def _instruction_two_call(roles: RoleSet) -> Speaker:
    sampling = roles.sampling_of("contrast")
    return TwoCallContrast(roles.model("contrast"), roles.assistant, sampling, roles.contrast_format)


def _forget(roles: RoleSet, turns: PositiveInt = 1) -> Speaker:
    return ForgetContrast(roles.assistant, turns)


_REGISTRY: dict[str, ContrastFactory] = {
    "instruction": _prompted(InstructionContrast),
    "instruction_two_call": _instruction_two_call,
    "drop_constraint": _prompted(DropConstraintContrast),
    "persona_swap": _prompted(PersonaSwapContrast),
    "contradict": _prompted(ContradictContrast),
    "ignore_correction": _prompted(IgnoreCorrectionContrast),
    "lose_goal": _prompted(LoseGoalContrast),
    "forget": _forget,
    "stale": lambda roles: StaleContrast(roles.assistant),
    "weaker_model": lambda roles: WeakerModelContrast(roles.model("weaker"), roles.sampling_of("weaker")),
}
_NAME = re.compile(r"[A-Za-z_][\w-]*")
_SPEC = re.compile(rf"({_NAME.pattern})\s*(?:\(([^()]*)\))?")


def register_contrast(name: str, factory: ContrastFactory) -> None:
    """Add a contrast by name.

    Args:
        name: The name on the command line and in the output.
        factory: Takes a `RoleSet` and the contrast's parameters (`str`, `int` or `float`), and returns the contrast.

    Raises:
        InvalidInputError: The name is registered already, or it has other characters than letters, digits, - and _.

    Example:
        >>> from music_agents import ForgetContrast, RoleSet, SimulationConfig, Speaker
        >>> def amnesia(roles: RoleSet, turns: int = 1) -> Speaker:
        ...     return ForgetContrast(roles.assistant, turns)
        >>> register_contrast("amnesia", amnesia)
        >>> config = SimulationConfig(strategy="instruction=3,amnesia(turns=2)")
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
    """The specification of a contrast: `instruction`, or `forget(turns=2)`.

    Attributes:
        name: Of the contrast.
        parameters: Texts of the parameters by name.
    """

    name: str
    parameters: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the text of a specification.

        Raises:
            InvalidInputError: The text is neither a name nor a name with parameters in parentheses.
        """
        match = _SPEC.fullmatch(text.strip())
        given = [part.partition("=") for part in (match[2] or "").split(",") if part.strip()] if match else []
        if match is None or not all(name.strip() and value.strip() for name, _, value in given):
            raise InvalidInputError(f"expected NAME or NAME(PARAMETER=VALUE, ...), got {text.strip()!r}")
        return cls(match[1], {name.strip(): value.strip() for name, _, value in given})

    def __str__(self) -> str:
        """Return the text of the specification."""
        given = ",".join(f"{name}={value}" for name, value in self.parameters.items())
        return f"{self.name}({given})" if given else self.name

    def check(self) -> dict[str, Any]:
        """Return the parameters, converted to their types, with defaults.

        Raises:
            InvalidInputError: The contrast is not registered, or does not take these parameters.
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

    def make(self, roles: RoleSet) -> Speaker:
        """Return the contrast.

        Raises:
            InvalidInputError: `check` fails, or the contrast needs a role without a model.
        """
        return _REGISTRY[self.name](roles, **self.check())


def _parameters(factory: ContrastFactory) -> type[BaseModel]:
    """Return a pydantic model of the parameters of a factory: all of its arguments but the first."""
    _, *parameters = inspect.signature(factory, eval_str=True).parameters.values()
    fields: dict[str, Any] = {
        p.name: (Any if p.annotation is p.empty else p.annotation, ... if p.default is p.empty else p.default)
        for p in parameters
    }
    return create_model("ContrastParameters", __config__=ConfigDict(extra="forbid"), **fields)
