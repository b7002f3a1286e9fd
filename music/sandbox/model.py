"""The sandbox as a chat model: it plays user, assistant and contrast from the prompts that real models get."""

import random

from music.llm.chat import ChatReply, ChatRequest, ReplyOutcome
from music.prompts import Part, read_prompt, render_contrast_reply
from music.sandbox import fallback

__all__ = ["SandboxModel"]


class SandboxModel:
    """A `ChatModel` over the sandbox's world; the same request always gets the same reply."""

    def __init__(self, name: str = "sandbox", seed: int = 0) -> None:
        self._name = name
        self._seed = seed

    @property
    def name(self) -> str:
        """The endpoint's name."""
        return self._name

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer one request."""
        text = self.answer(request)
        prompt_tokens = sum(len(m.content.split()) + 4 for m in request.messages)
        return ChatReply(
            text=text,
            outcome=ReplyOutcome.COMPLETE,
            model=self._name,
            prompt_tokens=prompt_tokens,
            completion_tokens=len(text.split()),
        )

    async def aclose(self) -> None:
        """Nothing to release."""

    def answer(self, request: ChatRequest) -> str:
        """Answer one request, without the wire's wrapping."""
        prompt = read_prompt(request.messages)
        rng = random.Random(f"{self._seed}/{request.seed}/{prompt.part}/{len(prompt.conversation.messages)}")
        if prompt.part is Part.USER:
            return fallback.user_turn(prompt.conversation, rng)
        if prompt.part is Part.ASSISTANT:
            return fallback.reply(prompt.conversation, rng)
        return render_contrast_reply(*fallback.contrast(prompt.conversation, rng))
