"""Mixtures: one contrast for each pair, drawn by weight."""

import math
import random
import re
from collections.abc import Mapping

from music.errors import InvalidInputError
from music.seeding import derive_seed
from music_agents.contrasts.registry import ContrastSpec, contrast_names
from music_agents.contrasts.schedule import ALL_TURNS, Schedule, ScheduledContrast
from music_agents.roles import RoleSet, RoleTurn, RoleView, Speaker

__all__ = ["ContrastMix", "check_mix", "make_contrast", "parse_mix"]

_OUTER_COMMA = re.compile(r",(?![^(]*\))")
_WEIGHTED = re.compile(r"([^(=]+(?:\([^()]*\))?)\s*(?:=(.*))?")


class ContrastMix:
    """Draws one contrast for each pair, by weight, from the run's seed."""

    def __init__(self, weighted: Mapping[str, tuple[float, Speaker]]) -> None:
        """Take contrasts by name, each with its weight (any positive scale)."""
        self._contrasts = [contrast for _, contrast in weighted.values()]
        self._weights = [weight for weight, _ in weighted.values()]

    async def __call__(self, view: RoleView) -> RoleTurn:
        """Answer with the contrast drawn for this pair."""
        rng = random.Random(derive_seed(view.run_seed, view.pair, "contrast"))
        (contrast,) = rng.choices(self._contrasts, self._weights)
        return await contrast(view)


def make_contrast(mix: Mapping[str, float], roles: RoleSet, schedule: Schedule = ALL_TURNS) -> Speaker:
    """Return the contrast, or the mixture of contrasts by weight.

    Args:
        mix: Specifications of contrasts (`forget(turns=2)`), each with its weight.
        roles: The assistant and the models.
        schedule: The turns that are contrasted; in the others the assistant answers.

    Raises:
        InvalidInputError: The mixture is invalid (`check_mix`), or a contrast needs a role without a model.
    """
    check_mix(mix)
    weighted = {text: (weight, ContrastSpec.parse(text).make(roles)) for text, weight in mix.items()}
    contrast = ContrastMix(weighted) if len(weighted) > 1 else next(iter(weighted.values()))[1]
    return contrast if schedule == ALL_TURNS else ScheduledContrast(contrast, roles.assistant, schedule)


def check_mix(mix: Mapping[str, float]) -> None:
    """Check a mixture of contrasts by weight.

    Raises:
        InvalidInputError: A contrast is not registered or takes other parameters, a weight is not positive, or the
            mixture is empty.
    """
    if not mix:
        raise InvalidInputError(f"expected contrasts out of {', '.join(contrast_names())}; got none")
    for text in mix:
        ContrastSpec.parse(text).check()
    if any(not 0 < weight < math.inf for weight in mix.values()):
        raise InvalidInputError(f"expected positive weights, got {dict(mix)}")


def parse_mix(text: str) -> dict[str, float]:
    """Read a mixture as the command line writes it: `instruction`, or `instruction=3,forget(turns=2)=1`.

    Raises:
        InvalidInputError: A part is not a contrast with its weight, or a contrast is repeated.
    """
    mix: dict[str, float] = {}
    for part in _OUTER_COMMA.split(text):
        match = _WEIGHTED.fullmatch(part.strip())
        if match is None:
            raise InvalidInputError(f"expected NAME, NAME=WEIGHT or NAME(PARAMETER=VALUE)=WEIGHT, got {part.strip()!r}")
        name = str(ContrastSpec.parse(match[1]))
        if name in mix:
            raise InvalidInputError(f"the contrast {name!r} is repeated in {text!r}")
        try:
            mix[name] = 1.0 if match[2] is None else float(match[2])
        except ValueError as error:
            raise InvalidInputError(f"expected a number as the weight of {name!r}, got {match[2].strip()!r}") from error
    return mix
