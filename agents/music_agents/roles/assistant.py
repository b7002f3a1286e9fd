"""The assistant: it answers the conversation as it stands."""

from dataclasses import dataclass

from music.llm.chat import AS_THE_ENDPOINT_DOES, ChatModel, Sampling
from music.prompts import render_assistant
from music_agents.roles.asking import ask
from music_agents.roles.role import RoleTurn, RoleView

__all__ = ["AssistantRole"]


@dataclass(frozen=True, slots=True)
class AssistantRole:
    """An assistant that answers as well as it can.

    Attributes:
        model: Who plays the assistant.
        sampling: How the model samples.
    """

    model: ChatModel
    sampling: Sampling = AS_THE_ENDPOINT_DOES

    async def __call__(self, view: RoleView) -> RoleTurn:
        """Answer the user."""
        answer = await ask(self.model, view, render_assistant(view.conversation), self.sampling, str.strip)
        return RoleTurn(text=answer.content, usage=answer.usage, retries=answer.retries)
