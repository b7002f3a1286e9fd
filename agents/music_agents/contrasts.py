"""Contrasts: how a rejected assistant turn is made worse than the chosen one, yet fluent on its own.

A contrast is a role that stands in the assistant's place in the rejected rollout and records what it did. Contrasts
are plug-ins: `register_contrast` adds one by name, and `ContrastMix` draws one for each pair by weight.
"""

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from music.errors import InvalidInputError
from music.llm.chat import ChatModel
from music.pairs import TurnContrast
from music.prompts import ContrastStrategy, parse_contrast, render_contrast
from music_agents.roles import AS_THE_ENDPOINT_DOES, Role, RoleTurn, RoleView, Sampling, ask, derive_seed

__all__ = ["ContrastFactory", "ContrastMix", "DropConstraintContrast", "InstructionContrast", "check_mix"]
__all__ += ["contrast_names", "make_contrast", "parse_mix", "register_contrast"]

ContrastFactory = Callable[[ChatModel, Sampling], Role]


@dataclass(frozen=True, slots=True)
class _PromptedContrast:
    """One call that returns both the modified instruction and the answer to it; only the answer is spoken."""

    strategy: ClassVar[ContrastStrategy]

    model: ChatModel
    sampling: Sampling = AS_THE_ENDPOINT_DOES

    async def __call__(self, view: RoleView) -> RoleTurn:
        """Answer a modified version of the user's request."""
        messages = render_contrast(self.strategy, view.conversation)
        (modified, response), usage = await ask(self.model, view, messages, self.sampling, parse_contrast)
        record = TurnContrast(turn=view.turn, strategy=self.strategy, modified_instruction=modified)
        return RoleTurn(text=response, usage=usage, contrast=record)


class InstructionContrast(_PromptedContrast):
    """The paper's: answers a related but different request well (Algorithm 1, step 3)."""

    strategy = ContrastStrategy.INSTRUCTION


class DropConstraintContrast(_PromptedContrast):
    """Answers the right request, but drops a constraint that the user stated earlier."""

    strategy = ContrastStrategy.DROP_CONSTRAINT


class ContrastMix:
    """Draws one contrast for each pair, by weight and by the run's seed, and keeps to it."""

    def __init__(self, weighted: Mapping[str, tuple[float, Role]]) -> None:
        """Take contrasts by name, each with its weight (any positive scale)."""
        self._roles = [role for _, role in weighted.values()]
        self._weights = [weight for weight, _ in weighted.values()]

    async def __call__(self, view: RoleView) -> RoleTurn:
        """Answer as the contrast drawn for this pair."""
        rng = random.Random(derive_seed(view.run_seed, view.pair, "contrast"))
        (role,) = rng.choices(self._roles, self._weights)
        return await role(view)


_REGISTRY: dict[str, ContrastFactory] = {
    ContrastStrategy.INSTRUCTION: InstructionContrast,
    ContrastStrategy.DROP_CONSTRAINT: DropConstraintContrast,
}


def register_contrast(name: str, factory: ContrastFactory) -> None:
    """Add a contrast under a name of its own.

    Raises:
        InvalidInputError: The name is taken.
    """
    if name in _REGISTRY:
        raise InvalidInputError(f"the contrast {name!r} is registered already: give yours another name")
    _REGISTRY[name] = factory


def contrast_names() -> tuple[str, ...]:
    """Return the names of all registered contrasts."""
    return tuple(map(str, _REGISTRY))


def make_contrast(mix: Mapping[str, float], model: ChatModel, sampling: Sampling = AS_THE_ENDPOINT_DOES) -> Role:
    """Return the contrast, or the mixture of contrasts by weight, over one model.

    Raises:
        InvalidInputError: As `check_mix`.
    """
    check_mix(mix)
    roles = {name: (weight, _REGISTRY[name](model, sampling)) for name, weight in mix.items()}
    return ContrastMix(roles) if len(roles) > 1 else next(iter(roles.values()))[1]


def check_mix(mix: Mapping[str, float]) -> None:
    """Check a mixture of contrasts by weight.

    Raises:
        InvalidInputError: A name is not registered, a weight is not positive, or there is none.
    """
    unknown = [name for name in mix if name not in _REGISTRY]
    if unknown or not mix:
        raise InvalidInputError(f"expected contrasts out of {', '.join(contrast_names())}; got {', '.join(unknown)!r}")
    if any(not 0 < weight < math.inf for weight in mix.values()):
        raise InvalidInputError(f"expected positive weights, got {dict(mix)}")


def parse_mix(text: str) -> dict[str, float]:
    """Read a mixture as the command line writes it: `instruction`, or `instruction=3,drop_constraint=1`.

    Raises:
        InvalidInputError: A weight is not a number, or a name stands twice.
    """
    mix: dict[str, float] = {}
    for part in text.split(","):
        name, _, weight = part.strip().partition("=")
        if name in mix:
            raise InvalidInputError(f"the contrast {name!r} stands twice in {text!r}")
        try:
            mix[name] = float(weight or 1)
        except ValueError as error:
            raise InvalidInputError(f"expected NAME or NAME=WEIGHT, got {part.strip()!r}") from error
    return mix
