"""The two players of a conversation, assistant and user: roles of `music_agents`, or chat models that play them.

`open_players` opens both from endpoints, with a cache: equal requests are sent once, even if several selectors are
compared. With a journal this also holds across runs.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias, TypedDict, cast

from music.errors import InvalidInputError
from music.llm.cache import MemoizedModel
from music.llm.chat import AS_THE_ENDPOINT_DOES, ChatModel, Sampling
from music.llm.endpoints import load_model
from music.llm.journal import Journal
from music.llm.options import parse_options
from music.llm.settings import ClientSettings
from music_agents.roles import Speaker
from music_agents.roles.model_roles import AssistantRole, UserRole

__all__ = ["Player", "PlayerOptions", "Players", "as_assistant", "as_user", "open_players", "read_player_options"]

Player: TypeAlias = Speaker | ChatModel
PARTS = ("assistant", "user")


def as_user(player: Player) -> Speaker:
    """Return the player as a user; a chat model becomes a `UserRole`, whose messages may be cut."""
    return UserRole(cast(ChatModel, player), keeps_cut=True) if hasattr(player, "complete") else player


def as_assistant(player: Player) -> Speaker:
    """Return the player as an assistant; a chat model becomes an `AssistantRole`, whose replies may be cut."""
    return AssistantRole(cast(ChatModel, player), keeps_cut=True) if hasattr(player, "complete") else player


class Players(TypedDict):
    """Both players, as keyword arguments of `run_best_of_n`."""

    assistant: AssistantRole
    user: UserRole


@dataclass(frozen=True, slots=True)
class PlayerOptions:
    """How a player is asked.

    Attributes:
        sampling: How it samples.
        client: Settings of an endpoint over HTTP.
    """

    sampling: Sampling = AS_THE_ENDPOINT_DOES
    client: ClientSettings = field(default_factory=ClientSettings)


def read_player_options(options: Sequence[str], client: ClientSettings, **assistant: Any) -> dict[str, PlayerOptions]:
    """Return how each player is asked.

    Args:
        options: Request options, in the form that `music.llm.options.parse_options` reads.
        client: Settings of both endpoints.
        **assistant: Sampling fields of the assistant that have a flag of their own; None if a flag is not given.

    Raises:
        InvalidInputError: An option cannot be read, or is given in both forms.
    """
    read = parse_options(options, PARTS)
    found = {
        part: PlayerOptions(read[part].sampling, client.model_copy(update={"connection": read[part].connection}))
        for part in PARTS
    }
    short = {name: value for name, value in assistant.items() if value is not None}
    for name in short:
        if getattr(found["assistant"].sampling, name) is not None:
            raise InvalidInputError(f"--option {name}=...: expected this or the flag of that name, got both")
    own = found["assistant"]
    return found | {"assistant": replace(own, sampling=replace(own.sampling, **short))}


@asynccontextmanager
async def open_players(
    endpoints: Mapping[str, str], options: Mapping[str, PlayerOptions] | None = None, journal: Path | None = None
) -> AsyncIterator[Players]:
    """Open both players, and close them on exit. Equal requests are sent once. Replies may be cut at a token limit.

    Args:
        endpoints: Those of `assistant` and `user`, in the form that `load_model` reads.
        options: How each player is asked.
        journal: File that stores every reply before it is used, for later runs; None to store none.

    Raises:
        JournalLockedError: Another run has the journal open.
        JournalError: It cannot be read or written.
    """
    by_part = {part: (options or {}).get(part, PlayerOptions()) for part in PARTS}
    async with AsyncExitStack() as stack:
        replies = None if journal is None else await stack.enter_async_context(Journal.open(journal, {}))
        models = {}
        for part in PARTS:
            models[part] = MemoizedModel(load_model(endpoints[part], by_part[part].client), replies, part)
            stack.push_async_callback(models[part].aclose)
        yield {
            "assistant": AssistantRole(models["assistant"], by_part["assistant"].sampling, keeps_cut=True),
            "user": UserRole(models["user"], by_part["user"].sampling, keeps_cut=True),
        }
