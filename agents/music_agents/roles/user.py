"""The user simulator: it writes the user's next message from the history of its own side."""

from dataclasses import dataclass

from music.llm.chat import AS_THE_ENDPOINT_DOES, ChatModel, Sampling
from music.prompts import render_user
from music_agents.roles.asking import ask
from music_agents.roles.role import RoleTurn, RoleView
from music_agents.roles.user_gates import DEFAULT_USER_GATES, UserGate

__all__ = ["UserRole"]


@dataclass(frozen=True, slots=True)
class UserRole:
    """A user played by a model; who that user is, the view's persona says.

    Attributes:
        model: Who plays the user.
        sampling: How the model samples.
        gates: What a message must pass, or the model is asked again.
    """

    model: ChatModel
    sampling: Sampling = AS_THE_ENDPOINT_DOES
    gates: tuple[UserGate, ...] = DEFAULT_USER_GATES

    async def __call__(self, view: RoleView) -> RoleTurn:
        """Write the user's next message.

        Raises:
            RoleFailedError: No reply passed the gates.
            EndpointError: The model gave no usable reply.
        """

        def read(reply: str) -> str:
            text = reply.strip()
            for gate in self.gates:
                gate(text, view)
            return text

        persona = view.persona.describe() if view.persona else ""
        answer = await ask(self.model, view, render_user(view.conversation, persona), self.sampling, read)
        return RoleTurn(text=answer.content, usage=answer.usage, retries=answer.retries)
