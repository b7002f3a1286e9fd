"""`open_players`: a run's two players, who are not paid twice for the same request.

Neither by selectors that are compared nor by a run that is begun again; see `music.llm.remembering`.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypedDict

from music.llm.chat import Sampling
from music.llm.endpoints import open_model
from music.llm.journal import Journal
from music.llm.remembering import RememberingModel
from music_agents.roles.assistant import AssistantRole
from music_agents.roles.user import UserRole

__all__ = ["Players", "open_players"]


class Players(TypedDict):
    """Both players, as `run_best_of_n` takes them."""

    assistant: AssistantRole
    user: UserRole


@asynccontextmanager
async def open_players(
    assistant: str, user: str, sampling: Sampling, journal: Path | None = None
) -> AsyncIterator[Players]:
    """Open endpoints, and close them in the end.

    Args:
        assistant: As `open_model` reads it; likewise `user`.
        user: Samples as its endpoint does.
        sampling: The assistant's.
        journal: File in which every reply is kept before it is used, for runs to come; None for none.

    Raises:
        JournalLockedError: Another run has the journal open.
        JournalError: It cannot be read or written.
    """
    async with AsyncExitStack() as stack:
        replies = None if journal is None else await stack.enter_async_context(Journal.open(journal, {}))
        models = {}
        for part, endpoint in (("assistant", assistant), ("user", user)):
            models[part] = RememberingModel(open_model(endpoint), replies, part)
            stack.push_async_callback(models[part].aclose)
        yield {"assistant": AssistantRole(models["assistant"], sampling), "user": UserRole(models["user"])}
