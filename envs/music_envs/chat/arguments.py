"""What a chat environment takes: the arguments of `ChatEnv`, read and refused in one place for all kinds of it."""

from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, TypedDict, TypeVar

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.llm.chat import ChatModel
from music.reward.functions import RewardFunction
from music_agents.personas import Persona
from music_agents.personas.sources import read_persona_file
from music_agents.roles import Speaker
from music_envs.chat.rewarding import RewardMode
from music_envs.seeds import load_seeds

__all__ = ["ChatArguments", "read_personas", "read_seeds", "require_callable", "require_count", "seed_index_of"]

T = TypeVar("T")


class ChatArguments(TypedDict, total=False):
    """What an environment takes besides; what each means and its default, `ChatEnv` tells."""

    num_turns: int
    user: str | ChatModel | Speaker
    reward: str | RewardFunction
    reward_mode: RewardMode
    seeds: str | Path | Sequence[Conversation]
    personas: str | Path | Sequence[Persona]
    is_done: Callable[[Conversation], bool] | None


def require_count(name: str, count: object) -> int:
    """Return a whole number of at least 1.

    Raises:
        InvalidInputError: It is none.
    """
    if not isinstance(count, Integral) or int(count) < 1:
        raise InvalidInputError(f"expected {name} to be a whole number of at least 1, got {count!r}")
    return int(count)


def require_callable(name: str, value: object, expected: str) -> None:
    """Refuse what cannot be called.

    Raises:
        InvalidInputError: It cannot.
    """
    if not callable(value):
        raise InvalidInputError(f"expected {name} to be {expected}, got {value!r}")


def read_seeds(seeds: str | Path | Sequence[Conversation]) -> tuple[Conversation, ...]:
    """Return the conversations to start from.

    Raises:
        InvalidInputError: There are none, or they cannot be read.
    """
    if isinstance(seeds, str | Path):
        return load_seeds(seeds)
    read = _all_of(Conversation, seeds, "seeds: Conversation.from_messages makes one of messages")
    if not read:
        raise InvalidInputError("expected at least one seed conversation, got none")
    return read


def read_personas(personas: str | Path | Sequence[Persona]) -> tuple[Persona, ...]:
    """Return who the users may be; nobody in particular if there are none.

    Raises:
        InvalidInputError: They cannot be read.
    """
    if isinstance(personas, str | Path):
        return tuple(read_persona_file(personas))
    return _all_of(Persona, personas, "personas: Persona.of makes one of a sentence")


def seed_index_of(options: Mapping[str, Any], num_seeds: int) -> int | None:
    """Return the seed that a reset's options ask for, if they do.

    Raises:
        InvalidInputError: They ask for a seed that there is not, or for something else.
    """
    if unknown := sorted(set(options) - {"seed_index"}):
        raise InvalidInputError(f"expected no reset options but seed_index, got {', '.join(map(repr, unknown))}")
    if "seed_index" not in options:
        return None
    index = options["seed_index"]
    if not isinstance(index, Integral) or int(index) not in range(num_seeds):
        raise InvalidInputError(f"expected a seed_index from 0 to {num_seeds - 1}, got {index!r}")
    return int(index)


def _all_of(kind: type[T], values: Sequence[T], what: str) -> tuple[T, ...]:
    """Return values all of which are of one kind; a single one of it is not taken for a sequence."""
    found = () if isinstance(values, kind) else tuple(values)
    if isinstance(values, kind) or not all(isinstance(value, kind) for value in found):
        raise InvalidInputError(f"expected a sequence of {kind.__name__} as {what}; got {values!r:.200}")
    return found
