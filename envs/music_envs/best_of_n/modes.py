"""Strategies by name, as the command line knows them."""

from collections.abc import Iterable, Mapping
from enum import StrEnum

from music.errors import InvalidInputError
from music_envs.best_of_n.anytime import Anytime
from music_envs.best_of_n.beam import Beam
from music_envs.best_of_n.greedy import Greedy
from music_envs.best_of_n.strategy import Strategy
from music_envs.best_of_n.whole import Whole

__all__ = ["Mode", "open_strategy"]


class Mode(StrEnum):
    """A strategy's name."""

    GREEDY = "greedy"
    ANYTIME = "anytime"
    BEAM = "beam"
    WHOLE = "whole"


STRATEGIES: dict[Mode, type[Greedy] | type[Anytime] | type[Beam] | type[Whole]] = {
    Mode.GREEDY: Greedy,
    Mode.ANYTIME: Anytime,
    Mode.BEAM: Beam,
    Mode.WHOLE: Whole,
}


def open_strategy(mode: Mode, options: Mapping[str, float | None]) -> Strategy:
    """Return the strategy of a name.

    Args:
        mode: The name.
        options: By name; None for what was not given.

    Raises:
        InvalidInputError: An option belongs to another mode.
        pydantic.ValidationError: An option's value is no use.
    """
    given = {name: value for name, value in options.items() if value is not None}
    kind = STRATEGIES[mode]
    if foreign := given.keys() - kind.model_fields.keys():
        raise InvalidInputError(f"mode {mode}: expected {_flags(kind.model_fields)}, got {_flags(foreign)}")
    return kind.model_validate(given)


def _flags(names: Iterable[str]) -> str:
    """Name options as flags."""
    return ", ".join(f"--{name.replace('_', '-')}" for name in sorted(names)) or "no flags of other modes"
