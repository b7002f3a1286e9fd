"""The sandbox as a chat model: it plays user, assistant and contrast from the prompts that real models get."""

import time

from music.conversation import Conversation
from music.llm.chat import ChatReply, ChatRequest, ReplyOutcome
from music.prompts import Part, read_prompt, render_contrast_reply
from music.sandbox import fallback, players
from music.sandbox.state import state_after

__all__ = ["SKILLS", "SandboxModel"]

SKILLS = {"perfect": 0.0, "good": 0.5, "fair": 1.0, "weak": 1.5}
"""How careless the assistant is, by the model name that asks for it; any other name gets "good"."""


class SandboxModel:
    """A `ChatModel` over the sandbox's world; the same request always gets the same reply.

    Args:
        name: Model name; one of `SKILLS` chooses how careless the assistant is.
        seed: Which of many equal models this is.
    """

    def __init__(self, name: str = "good", seed: int = 0) -> None:
        self._name = name
        self._carelessness = SKILLS.get(name, SKILLS["good"])
        self._seed = seed

    @property
    def name(self) -> str:
        """The endpoint, as it is written on the command line."""
        return f"sandbox:{self._name}"

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer one request."""
        start = time.perf_counter()
        text = self.answer(request)
        return ChatReply(
            text=text,
            outcome=ReplyOutcome.COMPLETE,
            model=self._name,
            prompt_tokens=sum(m.content.count(" ") + 5 for m in request.messages),
            completion_tokens=text.count(" ") + 1,
            latency=time.perf_counter() - start,
        )

    async def aclose(self) -> None:
        """Nothing to release."""

    def answer(self, request: ChatRequest) -> str:
        """Answer one request, without the wire's wrapping."""
        prompt = read_prompt(request.messages)
        conversation = prompt.conversation
        # Named by the first message and the length, which both sides of a pair share, never by the replies.
        first = conversation.messages[0].content if conversation.messages else ""
        seed = f"{self._seed}/{request.seed}/{len(conversation.messages)}/{first}"
        if prompt.part is Part.USER:
            return self._user(conversation, seed)
        if prompt.part is Part.ASSISTANT:
            text = players.reply(conversation, seed, self._carelessness)
            return text or fallback.reply(conversation, players.stream(seed, "fallback"))
        play = players.contrast if prompt.part is Part.INSTRUCTION else players.drop_constraint
        answered = play(conversation, seed, self._carelessness)
        return render_contrast_reply(*(answered or fallback.contrast(conversation, players.stream(seed, "fallback"))))

    def _user(self, conversation: Conversation, seed: str) -> str:
        """Play the user: of this world if the conversation is."""
        if not conversation.messages or state_after(conversation).topic:
            return players.user_turn(conversation, seed)
        return fallback.user_turn(conversation, players.stream(seed, "fallback"))
