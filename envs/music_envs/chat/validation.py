"""Checks of what chat environments are given: arguments, resets, actions, snapshots, one value per environment.

Every check raises before anything is drawn or sent, so an error leaves the environment unchanged.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import wraps
from numbers import Integral
from pathlib import Path
from typing import Any, ParamSpec, TypeAlias, TypeGuard, TypeVar, cast

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.llm.chat import ChatModel
from music.names import did_you_mean
from music.reward.functions import RewardFunction
from music_agents.personas import Persona
from music_agents.personas.sources import read_persona_file
from music_agents.roles import Speaker
from music_envs.chat.episode import ChatSnapshot, Episode
from music_envs.prompts import load_prompts
from music_envs.spaces import ReplySpace, is_encodable

__all__ = ["NO_CONTEXT", "IsDone", "PersonasLike", "RewardLike", "SeedsLike", "UserLike"]
__all__ += ["autoreset_mode_of", "generator_for", "plain_seed", "read_persona_argument", "read_seed_argument"]
__all__ += ["read_seed_index", "refuses_unknown_arguments", "require_action", "require_begun", "require_callable"]
__all__ += [
    "require_count",
    "require_index",
    "require_num",
    "require_render_mode",
    "require_running",
    "seeds_by_env",
    "unmasked",
]

P = ParamSpec("P")
T = TypeVar("T")

UserLike: TypeAlias = str | ChatModel | Speaker
RewardLike: TypeAlias = str | RewardFunction
SeedsLike: TypeAlias = str | Path | Sequence[Conversation]
PersonasLike: TypeAlias = str | Path | Sequence[Persona]
IsDone: TypeAlias = Callable[[Conversation], bool] | None

NO_CONTEXT = (Conversation(),)
REPLIES = ReplySpace()


# Arguments


def refuses_unknown_arguments(init: Callable[P, None]) -> Callable[P, None]:
    """Make a constructor name its nearest argument when it gets an unknown one."""
    known = [name for name in inspect.signature(init).parameters if name != "self"]
    owner = init.__qualname__.partition(".")[0]

    @wraps(init)
    def checked(*args: P.args, **kwargs: P.kwargs) -> None:
        for name in kwargs:
            if name not in known:
                hint = did_you_mean(name, known) or f"; it takes {', '.join(known)}"
                raise TypeError(f"{owner} got an unexpected argument {name!r}{hint}")
        init(*args, **kwargs)

    return checked


def _is_whole(value: object) -> TypeGuard[Integral]:
    """Return whether a value is a whole number; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def require_count(name: str, count: object) -> int:
    """Return a count as an int.

    Raises:
        InvalidInputError: It is not a whole number of at least 1.
    """
    if not _is_whole(count) or int(count) < 1:
        raise InvalidInputError(f"expected {name} to be a whole number of at least 1, got {count!r}")
    return int(count)


def require_callable(name: str, value: object, expected: str) -> None:
    """Require a callable.

    Raises:
        InvalidInputError: The value cannot be called.
    """
    if not callable(value):
        raise InvalidInputError(f"expected {name} to be {expected}, got {value!r}")


def read_seed_argument(seeds: SeedsLike) -> tuple[Conversation, ...]:
    """Return the conversations to start from.

    Raises:
        InvalidInputError: There are none, or they cannot be read.
    """
    if isinstance(seeds, str | Path):
        return load_prompts(seeds)
    read = _all_of(Conversation, seeds, "seeds: Conversation.from_messages makes one of messages")
    if not read:
        raise InvalidInputError("expected at least one seed conversation, got none")
    return read


def read_persona_argument(personas: PersonasLike) -> tuple[Persona, ...]:
    """Return the personas that users may have; with none, users have no persona.

    Raises:
        InvalidInputError: They cannot be read.
    """
    if isinstance(personas, str | Path):
        return tuple(read_persona_file(personas))
    return _all_of(Persona, personas, "personas: Persona.of makes one of a sentence")


def _all_of(kind: type[T], values: Sequence[T], what: str) -> tuple[T, ...]:
    """Return values that are all of one kind; a single value does not count as a sequence."""
    found = () if isinstance(values, kind) else tuple(values)
    if isinstance(values, kind) or not all(isinstance(value, kind) for value in found):
        raise InvalidInputError(f"expected a sequence of {kind.__name__} as {what}; got {values!r:.200}")
    return found


def require_render_mode(mode: str | None) -> str | None:
    """Return a render mode.

    Raises:
        InvalidInputError: There is no such mode.
    """
    if mode not in (None, "ansi"):
        raise InvalidInputError(f"expected a render_mode of None or 'ansi', got {mode!r}")
    return mode


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


# Resets


def generator_for(seed: int | None, generator: np.random.Generator) -> np.random.Generator:
    """Return the generator of a reset: a new one from the seed, or without a seed a copy of the current one.

    The caller keeps it only if the reset succeeds, so a reset that raises draws nothing.

    Raises:
        gymnasium.error.Error: The seed is not a whole number of at least 0.
    """
    return deepcopy(generator) if seed is None else seeding.np_random(plain_seed(seed))[0]


def plain_seed(seed: int | None) -> int | None:
    """Return a numpy integer as an int, because Gymnasium refuses it; others unchanged."""
    return int(cast(int, seed)) if isinstance(seed, np.integer) else seed


def read_seed_index(options: Mapping[str, Any], num_seeds: int) -> int | None:
    """Return the `seed_index` of a reset's options; None without one.

    Raises:
        InvalidInputError: There is no such seed, or there are other options.
    """
    if unknown := sorted(set(options) - {"seed_index"}):
        raise InvalidInputError(f"expected no reset options but seed_index, got {', '.join(map(repr, unknown))}")
    if "seed_index" not in options:
        return None
    return require_index("a seed_index", options["seed_index"], num_seeds)


def require_index(name: str, index: object, num: int) -> int:
    """Return an index as an int.

    Raises:
        InvalidInputError: It is not a whole number from 0 to `num - 1`.
    """
    if not _is_whole(index) or int(index) not in range(num):
        raise InvalidInputError(f"expected {name} from 0 to {num - 1}, got {index!r}")
    return int(index)


# Actions and snapshots; `env` is the index of a vector environment's environment


def require_action(action: object, env: int | None = None) -> None:
    """Require a reply of `ReplySpace`.

    Raises:
        InvalidInputError: The action is not a string, or it is blank, too long or not encodable.
    """
    if action in REPLIES:
        return
    if not isinstance(action, str):
        wrong = f"expected the reply as a string, got {type(action).__name__}"
    elif not action.strip():
        wrong = "expected a reply with some text, got a blank one"
    elif not is_encodable(action):
        wrong = "expected a reply that UTF-8 can encode, got one with half a surrogate pair; replace it by U+FFFD"
    else:
        wrong = f"expected a reply of at most {REPLIES.max_chars:,} characters, got {len(action):,}"
    raise InvalidInputError(_place(env) + wrong)


def require_running(episode: Episode | None, env: int | None = None) -> Episode:
    """Return an episode that can continue.

    Raises:
        ResetNeeded: The episode is over or never began.
    """
    if episode is None or episode.stop_reason is not None:
        raise ResetNeeded(f"{_place(env)}the episode is over or never began: call reset() before step()")
    return episode


def require_begun(snapshot: ChatSnapshot, env: int | None = None) -> Episode:
    """Return the episode of a snapshot.

    Raises:
        ResetNeeded: The snapshot was taken before the first reset.
        InvalidInputError: The argument is not a snapshot.
    """
    if not isinstance(snapshot, ChatSnapshot):
        raise InvalidInputError(f"{_place(env)}expected a snapshot of one environment, got {type(snapshot).__name__}")
    if snapshot.episode is None:
        raise ResetNeeded(f"{_place(env)}the snapshot was taken before the first reset: call reset()")
    return snapshot.episode


def _place(env: int | None) -> str:
    return "" if env is None else f"environment {env}: "


# One value per environment


def require_num(num_envs: int, what: str, values: object) -> None:
    """Require one value per environment; a single string does not count as a sequence.

    Raises:
        InvalidInputError: The values are no sequence, or their number differs.
    """
    many = values if isinstance(values, Sequence | np.ndarray) and not isinstance(values, str | bytes) else None
    if many is None or len(many) != num_envs:
        came = f"a single {type(values).__name__}" if many is None else len(many)
        raise InvalidInputError(f"expected {num_envs} {what}, got {came}")


def unmasked(num_envs: int, mask: Any) -> list[int]:
    """Return the indices of the environments to reset: all of them without a mask.

    Raises:
        InvalidInputError: The mask is not a boolean per environment, at least one of them true.
    """
    if mask is None:
        return list(range(num_envs))
    if np.shape(mask) != (num_envs,) or np.asarray(mask).dtype != np.bool_ or not np.any(mask):
        raise InvalidInputError(f"expected a reset_mask of {num_envs} booleans, one of them true, got {mask!r}")
    return [int(i) for i in np.flatnonzero(mask)]


def seeds_by_env(
    num_envs: int, seed: int | Sequence[int | None] | None, chosen: Sequence[int]
) -> dict[int, int | None]:
    """Return the seed of each chosen environment: `seed + i` for environment `i`, or item `i` of a sequence.

    Raises:
        InvalidInputError: A sequence does not have one seed per environment.
    """
    if seed is None or isinstance(seed, Integral):
        return {i: None if seed is None else int(seed) + i for i in chosen}
    require_num(num_envs, "seeds", seed)
    return {i: cast(Sequence[int | None], seed)[i] for i in chosen}
