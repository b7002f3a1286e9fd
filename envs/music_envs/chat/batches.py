"""What many environments are given at once, read and refused (seeds, masks, one value for each), and do at once."""

import asyncio
from collections.abc import Coroutine, Sequence
from numbers import Integral
from typing import Any, TypeVar, cast

import numpy as np
from gymnasium.vector import AutoresetMode

from music.errors import InvalidInputError
from music.gc import relaxed

__all__ = ["all_at_once", "autoreset_mode_of", "require_as_many", "seeds_by_env", "unmasked"]

T = TypeVar("T")

_NUM_PER_ROUND = 16


async def all_at_once(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Do all at once; where some fail, the first error is raised once nothing is under way any more.

    They set out a few at a time. An event loop writes to its sockets between rounds: if all set out in one round, the
    first request leaves when the last has been made.
    """
    tasks: list[asyncio.Future[T]] = []
    with relaxed():
        try:
            for start in range(0, len(work), _NUM_PER_ROUND):
                tasks += map(asyncio.ensure_future, work[start : start + _NUM_PER_ROUND])
                await asyncio.sleep(0)
            results = await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            for task in tasks:
                task.cancel()  # this and what follows do nothing unless this was cancelled itself
            for unbegun in work[len(tasks) :]:
                unbegun.close()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return cast(list[T], results)


def autoreset_mode_of(mode: AutoresetMode | str) -> AutoresetMode:
    """Return an autoreset mode.

    Raises:
        InvalidInputError: There is no such mode.
    """
    try:
        return AutoresetMode(mode)
    except ValueError:
        names = ", ".join(known.value for known in AutoresetMode)
        raise InvalidInputError(f"expected an autoreset_mode of {names}, got {mode!r}") from None


def require_as_many(num_envs: int, what: str, values: object) -> None:
    """Refuse what is not one value for each environment, such as a single text, which is a sequence too.

    Raises:
        InvalidInputError: It is not.
    """
    many = values if isinstance(values, Sequence | np.ndarray) and not isinstance(values, str | bytes) else None
    if many is None or len(many) != num_envs:
        came = f"a single {type(values).__name__}" if many is None else len(many)
        raise InvalidInputError(f"expected {num_envs} {what}, got {came}")


def unmasked(num_envs: int, mask: Any) -> list[int]:
    """Return which environments a reset is for: all without a mask.

    Raises:
        InvalidInputError: The mask is not a boolean for each, at least one of them true.
    """
    if mask is None:
        return list(range(num_envs))
    if np.shape(mask) != (num_envs,) or np.asarray(mask).dtype != np.bool_ or not np.any(mask):
        raise InvalidInputError(f"expected a reset_mask of {num_envs} booleans, one of them true, got {mask!r}")
    return [int(i) for i in np.flatnonzero(mask)]


def seeds_by_env(
    num_envs: int, seed: int | Sequence[int | None] | None, chosen: Sequence[int]
) -> dict[int, int | None]:
    """Return the seed of each chosen environment, that of environment `i` being `seed + i`, or the one at its place.

    Raises:
        InvalidInputError: There is not one for each environment.
    """
    if seed is None or isinstance(seed, Integral):
        return {i: None if seed is None else int(seed) + i for i in chosen}
    require_as_many(num_envs, "seeds", seed)
    return {i: cast(Sequence[int | None], seed)[i] for i in chosen}
