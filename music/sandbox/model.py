"""The sandbox as a chat model: it plays user, assistant, contrast and judge from the same prompts as real models."""

import logging
import math

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.llm.chat import ChatReply, ChatRequest, ReplyOutcome, TokenLogprobs
from music.names import did_you_mean
from music.prompts import (
    PromptKind,
    read_prompt,
    render_contrast_reply,
    render_judgement,
    render_rating,
    render_rewrite_reply,
)
from music.sandbox.world import contrasts, players
from music.sandbox.world.fallback import any_contrast, any_reply, any_user_turn
from music.sandbox.world.memory_contrasts import CONTRASTS
from music.sandbox.world.oracle import oracle_choice, oracle_rating
from music.sandbox.world.state import state_after

__all__ = ["MEMORY", "SKILLS", "SandboxModel", "load_sandbox_model", "named_model"]

SKILLS = {"perfect": 0.0, "good": 0.5, "fair": 1.0, "weak": 1.5}
"""Carelessness of the assistant by model name; any other name means "good"."""
MEMORY = "+memory"
"""After a skill in an endpoint or a model name: the users have memory."""
MAX_DRAWS = 8
"""A user who would repeat a message draws again, up to this many times."""

_LOG = logging.getLogger(__name__)


class SandboxModel:
    """A `ChatModel` over the sandbox's world; the same request always gets the same reply.

    Args:
        name: Model name; a name in `SKILLS` sets how careless the assistant is.
        seed: Models with different seeds give different replies.
        memory: Whether the users that it plays have memory: they also point out errors, announce plans of several
            steps, and ask what the assistant said. The assistant, contrasts and judge always understand them.

    Example:
        >>> model = SandboxModel("weak")
        >>> model.name
        'sandbox:weak'
    """

    def __init__(self, name: str = "good", seed: int = 0, *, memory: bool = False) -> None:
        self._name = name
        self._carelessness = SKILLS.get(name, SKILLS["good"])
        self._seed = seed
        self._memory = memory
        self._has_warned = False

    @property
    def name(self) -> str:
        """The endpoint, as on the command line."""
        return f"sandbox:{self._name}{MEMORY if self._memory else ''}"

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer one request."""
        text = self.answer(request)
        return ChatReply(
            text=text,
            outcome=ReplyOutcome.COMPLETE,
            model=self.name.partition(":")[2],
            prompt_tokens=sum(m.content.count(" ") + 5 for m in request.messages),
            completion_tokens=text.count(" ") + 1,
            logprobs=_logprobs(request) if request.top_logprobs else (),
        )

    async def aclose(self) -> None:
        """Do nothing: there is nothing to release."""

    def answer(self, request: ChatRequest) -> str:
        """Return the text of the answer to a request."""
        prompt = read_prompt(request.messages)
        conversation = prompt.conversation
        if prompt.kind is PromptKind.USER:
            return self._user(conversation, request.seed, prompt.persona)
        if prompt.other is not None:
            return render_judgement(oracle_choice(conversation, prompt.other), "By the oracle's grades of all replies:")
        if prompt.kind is PromptKind.RATE:
            return render_rating(round(oracle_rating(conversation)))
        # Depends on the request alone. Both sides of a pair share it, so they also share random errors.
        seed = f"{self._seed}/{request.seed}/{conversation.messages[-1].content}"
        rng = players.stream(seed, "fallback")
        if prompt.kind is PromptKind.REWRITE:
            rewritten = contrasts.rewrite(conversation, seed) or any_contrast(conversation, rng)[0]
            return render_rewrite_reply(rewritten, prompt.form)
        if play := CONTRASTS.get(prompt.kind):
            answered = play(conversation, seed, self._carelessness) or any_contrast(conversation, rng)
            return render_contrast_reply(*answered, prompt.form)
        text = players.reply(conversation, seed, self._carelessness)
        text = text or contrasts.guess(conversation, seed, self._carelessness)
        return text or any_reply(conversation, rng, self._carelessness)

    def _user(self, conversation: Conversation, request_seed: int | None, persona: str) -> str:
        """Play the user, within this world if the conversation is."""
        # Depends on the first message and the length, which both sides of a pair share. Only a user with memory reads
        # the replies.
        first = conversation.messages[0].content if conversation.messages else ""
        seed = f"{self._seed}/{request_seed}/{len(conversation.messages)}/{first}"
        said = {message.content for message in conversation.messages}
        in_world = not conversation.messages or bool(state_after(conversation).topic)
        if not in_world:
            self._warn_once(first)
        for draw in range(MAX_DRAWS):
            name = f"{seed}/{draw}" if draw else seed
            if in_world:
                text = players.user_turn(conversation, name, persona, memory=self._memory)
            else:
                text = any_user_turn(conversation, players.stream(name, "fallback"))
            if text not in said:
                break
        return text

    def _warn_once(self, first: str) -> None:
        """Warn of a conversation that is not about this world."""
        if not self._has_warned:
            self._has_warned = True
            _LOG.warning(
                "the sandbox does not understand the prompt %r: for such prompts it writes set phrases, and "
                "personas have no effect; give a real model, --assistant MODEL@BASE_URL",
                first[:60],
            )


def load_sandbox_model(skill: str) -> SandboxModel:
    """Return the sandbox's model of a skill, such as `fair` or `fair+memory`; an empty skill means the default.

    Raises:
        InvalidInputError: There is no such skill.
    """
    if skill and skill.removesuffix(MEMORY) not in SKILLS:
        near = did_you_mean(skill, [*SKILLS, *(known + MEMORY for known in SKILLS)])
        raise InvalidInputError(f"endpoint 'sandbox:{skill[:40]}': expected a skill of {', '.join(SKILLS)}{near}")
    return named_model(skill) if skill else SandboxModel()


def named_model(name: str) -> SandboxModel:
    """Return the model of a name, whose users have memory if it ends with `+memory`."""
    return SandboxModel(name.removesuffix(MEMORY), memory=name.endswith(MEMORY))


def _logprobs(request: ChatRequest) -> tuple[TokenLogprobs, ...]:
    """Return the log-probabilities of a rating, whose mean is the exact grade; other replies have none."""
    prompt = read_prompt(request.messages)
    if prompt.kind is not PromptKind.RATE:
        return ()
    exact = oracle_rating(prompt.conversation)
    shares = {math.floor(exact): 1 - exact % 1, math.ceil(exact): exact % 1 or 1.0}
    rating = tuple((str(number), math.log(share)) for number, share in shares.items() if share)
    marks = [TokenLogprobs(mark, ((mark, 0.0),)) for mark in ("[[", "]]")]
    return marks[0], TokenLogprobs(str(round(exact)), rating), marks[1]
