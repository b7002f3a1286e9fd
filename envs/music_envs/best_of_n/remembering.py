"""`open_players`: a run's two players, who are not paid twice for the same request.

Neither by selectors that are compared nor by a run that is begun again; see `music.llm.remembering`.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from music.llm.chat import AS_THE_ENDPOINT_DOES, Sampling
from music.llm.endpoints import load_model
from music.llm.journal import Journal
from music.llm.openai import ClientSettings
from music.llm.remembering import RememberingModel
from music_agents.roles.model_roles import AssistantRole, UserRole

__all__ = ["PlayerOptions", "Players", "open_players"]

PARTS = ("assistant", "user")


class Players(TypedDict):
    """Both players, as `run_best_of_n` takes them."""

    assistant: AssistantRole
    user: UserRole


@dataclass(frozen=True, slots=True)
class PlayerOptions:
    """How a player is asked.

    Attributes:
        sampling: How it samples.
        client: Of an endpoint over HTTP.
    """

    sampling: Sampling = AS_THE_ENDPOINT_DOES
    client: ClientSettings = field(default_factory=ClientSettings)


@asynccontextmanager
async def open_players(
    endpoints: Mapping[str, str], asking: Mapping[str, PlayerOptions] | None = None, journal: Path | None = None
) -> AsyncIterator[Players]:
    """Open endpoints, and close them in the end.

    Args:
        endpoints: Of `assistant` and `user`, as `load_model` reads them.
        asking: How they are asked, by part.
        journal: File in which every reply is kept before it is used, for runs to come; None for none.

    Raises:
        JournalLockedError: Another run has the journal open.
        JournalError: It cannot be read or written.
    """
    asking = {part: (asking or {}).get(part, PlayerOptions()) for part in PARTS}
    async with AsyncExitStack() as stack:
        replies = None if journal is None else await stack.enter_async_context(Journal.open(journal, {}))
        models = {}
        for part in PARTS:
            models[part] = RememberingModel(load_model(endpoints[part], asking[part].client), replies, part)
            stack.push_async_callback(models[part].aclose)
        yield {
            "assistant": AssistantRole(models["assistant"], asking["assistant"].sampling),
            "user": UserRole(models["user"], asking["user"].sampling),
        }
