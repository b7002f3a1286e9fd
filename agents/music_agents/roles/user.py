"""The user simulator: it writes the user's next message from the history of its own side."""

from dataclasses import dataclass

from music.llm.chat import AS_THE_ENDPOINT_DOES, ChatModel, Sampling
from music.prompts import PromptTemplate, render_user
from music_agents.failures import FailureReason, UnfitReplyError
from music_agents.roles.asking import ask
from music_agents.roles.role import RoleTurn, RoleView
from music_agents.roles.speech import plain, without_stop_marks
from music_agents.roles.user_gates import DEFAULT_USER_GATES, UserGate

__all__ = ["UserRole"]


@dataclass(frozen=True, slots=True)
class UserRole:
    """A user played by a model; who that user is, the view's persona says.

    Attributes:
        model: Who plays the user.
        sampling: How the model samples.
        gates: What a message must pass, or the model is asked again.
        template: Instructions of one's own; None for this package's.
    """

    model: ChatModel
    sampling: Sampling = AS_THE_ENDPOINT_DOES
    gates: tuple[UserGate, ...] = DEFAULT_USER_GATES
    template: PromptTemplate | None = None

    async def __call__(self, view: RoleView) -> RoleTurn:
        """Write the user's next message.

        Raises:
            RoleFailedError: No reply passed the gates.
            EndpointError: The model gave no usable reply.
        """
        persona = view.persona.describe() if view.persona else ""
        messages = render_user(view.conversation, persona, self.template)
        answer = await ask(self.model, view, messages, self.sampling, lambda reply: self._read(reply, view))
        return RoleTurn(text=answer.content, usage=answer.usage, retries=answer.retries)

    def _read(self, reply: str, view: RoleView) -> str:
        """Return the message of a reply.

        Raises:
            UnfitReplyError: A gate refuses it, or it holds nothing to be read.
        """
        # At the end of a pair a farewell may stay, but the assistant is not to answer a mark.
        text = without_stop_marks(reply) if view.turn + 1 == view.num_turns else reply.strip()
        if not plain(text):
            told = "it is nothing but a stop mark" if plain(reply) else "it holds no letter that is seen"
            raise UnfitReplyError(FailureReason.REPLY_EMPTY, told)
        for gate in self.gates:
            gate(text, view)
        return text
