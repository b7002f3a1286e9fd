"""Contrasts that let another model answer."""

from dataclasses import dataclass, replace

from music.llm.chat import AS_THE_ENDPOINT_DOES, ChatModel, Sampling
from music.pairs import TurnContrast
from music_agents.roles import RoleTurn, RoleView
from music_agents.roles.assistant import AssistantRole

__all__ = ["WeakerModelContrast"]


@dataclass(frozen=True, slots=True)
class WeakerModelContrast:
    """Lets a weaker model answer the conversation as it stands.

    One call a turn. Its errors are the weaker model's own, of every kind that it makes; some turns have none, so its
    labels are noisier than those of the other contrasts, and the two models' styles can give the sides away.

    Attributes:
        weaker: Who answers.
        sampling: How it samples.
    """

    weaker: ChatModel
    sampling: Sampling = AS_THE_ENDPOINT_DOES

    async def __call__(self, view: RoleView) -> RoleTurn:
        """Answer the user."""
        said = await AssistantRole(self.weaker, self.sampling)(view)
        request = view.conversation.messages[-1].content
        record = TurnContrast(
            turn=view.turn,
            strategy="weaker_model",
            modified_instruction=request,
            parameters={"model": self.weaker.name},
        )
        return replace(said, contrast=record)
