"""The two players of a conversation, assistant and user: roles of `music_agents`, or chat models that play them.

`open_players` opens both from endpoints, with a cache: equal requests are sent once, also when selectors are compared
or a run is repeated.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypedDict, cast

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.llm.cache import MemoizedModel
from music.llm.chat import AS_THE_ENDPOINT_DOES, ChatModel, Sampling
from music.llm.endpoints import load_model
from music.llm.journal import Journal
from music.llm.options import parse_options
from music.llm.settings import ClientSettings
from music_agents.personas import Persona
from music_agents.roles import RoleView, Speaker
from music_agents.roles.model_roles import AssistantRole, UserRole

__all__ = ["Player", "PlayerOptions", "Players", "as_assistant", "as_user", "open_players", "read_player_options"]
__all__ += ["view"]

Player: TypeAlias = Speaker | ChatModel
PARTS = ("assistant", "user")


def as_user(player: Player) -> Speaker:
    """Return the player as a user; a model plays it through `UserRole`."""
    return UserRole(cast(ChatModel, player)) if hasattr(player, "complete") else player


def as_assistant(player: Player) -> Speaker:
    """Return the player as an assistant; a model plays it through `AssistantRole`."""
    return AssistantRole(cast(ChatModel, player)) if hasattr(player, "complete") else player


def view(
    conversation: Conversation,
    part: Literal["user", "assistant"],
    *,
    turn: int,
    num_turns: int,
    index: int,
    seed: int,
    persona: Persona | None = None,
) -> RoleView:
    """Return what a role may know when it speaks; `seed`, `index` (which conversation) and `turn` make its own seed."""
    return RoleView(
        conversation=conversation,
        side="chosen",
        part=part,
        turn=turn,
        num_turns=num_turns,
        pair=index,
        run_seed=seed,
        persona=persona,
    )


class Players(TypedDict):
    """Both players, as `run_best_of_n` takes them."""

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
    """Return how the players are asked, by part.

    Args:
        options: As `music.llm.options.parse_options` reads them.
        client: Settings of both endpoints.
        **assistant: Short forms of the assistant's sampling, by field; None for what was not given.

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
    """Open both players, and close them at the end; equal requests are sent once.

    Args:
        endpoints: Of `assistant` and `user`, as `load_model` reads them.
        options: How they are asked, by part.
        journal: File to which every reply is written before it is used, for later runs; None for none.

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
            "assistant": AssistantRole(models["assistant"], by_part["assistant"].sampling),
            "user": UserRole(models["user"], by_part["user"].sampling),
        }
