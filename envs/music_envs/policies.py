"""Policies play the assistant: a `Policy` is any callable, `ModelPolicy` makes one of a chat model."""

import asyncio
import logging
from collections.abc import Sequence
from itertools import count
from typing import Protocol

from music.aio import run_in_background
from music.conversation import Conversation
from music.llm.chat import (
    AS_THE_ENDPOINT_DOES,
    ChatModel,
    ChatReply,
    ChatRequest,
    EndpointError,
    ReplyOutcome,
    Sampling,
)
from music.llm.endpoints import load_model
from music.llm.local import LocalChatModel
from music.prompts import render_assistant
from music.seeding import derive_seed

__all__ = ["ModelPolicy", "Policy"]

logger = logging.getLogger(__name__)


class Policy(Protocol):
    """Anything that replies to many conversations at once: a function, a `ModelPolicy`, a model in training.

    Its result is an action of `ChatVectorEnv`; an action of `ChatEnv` is `policy([conversation])[0]`.
    """

    def __call__(self, conversations: Sequence[Conversation], /) -> Sequence[str]:
        """Return a reply to each conversation; a blank one, which environments refuse, means no reply."""
        ...


class ModelPolicy:
    """A chat model as a policy. An endpoint gets all requests at once; a local model answers in batches.

    The reply is what the model says, without its thinking, even if the token limit cut it off. Conversations that are
    over get a blank reply. So do those that the model did not answer because the endpoint failed permanently, the
    context is full, or the model only thought; a warning reports these, and the first replies that were cut.

    Args:
        model: An endpoint as text (`MODEL@BASE_URL`, `local:PATH_OR_HUB_ID`, `sandbox:fair`), which the policy opens
            and closes; or a chat model, which you close.
        sampling: How the model samples; by default the endpoint decides.
        seed: Derives the seeds of all requests, each a different one.
        batch_size: Conversations in a batch of a local model.

    Raises:
        InvalidInputError: The text names no endpoint.
    """

    def __init__(
        self,
        model: str | ChatModel,
        *,
        sampling: Sampling = AS_THE_ENDPOINT_DOES,
        seed: int = 0,
        batch_size: int = 32,
    ) -> None:
        self._is_own = isinstance(model, str)
        self._model: ChatModel = load_model(model) if isinstance(model, str) else model
        self._sampling = sampling
        self._seeds = (derive_seed(seed, "policy", number) for number in count())
        self._batch_size = batch_size
        self._has_reported_cut = False

    def __call__(self, conversations: Sequence[Conversation]) -> list[str]:
        """Reply to each conversation.

        Raises:
            EndpointError: The model answered none of them.
        """
        due = [conversation for conversation in conversations if conversation.next_role == "assistant"]
        requests = [
            ChatRequest(messages=render_assistant(each), seed=next(self._seeds), sampling=self._sampling)
            for each in due
        ]
        answers = run_in_background(self._answers(requests))
        texts = iter(_texts(answers))
        self._report_cut(answers)
        return [next(texts) if conversation.next_role == "assistant" else "" for conversation in conversations]

    def fits(self, conversations: Sequence[Conversation]) -> list[bool]:
        """Return whether each conversation fits into the context of a local model; of an endpoint, always True."""
        if isinstance(self._model, LocalChatModel):
            return self._model.fits([render_assistant(conversation) for conversation in conversations])
        return [True] * len(conversations)

    def _report_cut(self, answers: Sequence[ChatReply | BaseException]) -> None:
        """Warn the first time that replies are cut at the limit of tokens."""
        num_cut = sum(isinstance(each, ChatReply) and each.outcome is ReplyOutcome.LENGTH for each in answers)
        if num_cut and not self._has_reported_cut:
            self._has_reported_cut = True
            logger.warning(
                "%d of %d replies were cut at the limit of tokens, and are used as they are; later ones are not "
                "reported: a larger Sampling.max_tokens lets them end",
                num_cut,
                len(answers),
            )

    def close(self) -> None:
        """Close the endpoint if it was opened here; closing again is fine."""
        if self._is_own:
            run_in_background(self._model.aclose())

    async def _answers(self, requests: Sequence[ChatRequest]) -> Sequence[ChatReply | BaseException]:
        if isinstance(self._model, LocalChatModel):
            return await self._model.complete_all(requests, batch_size=self._batch_size)
        return await asyncio.gather(*map(self._model.complete, requests), return_exceptions=True)


def _texts(answers: Sequence[ChatReply | BaseException]) -> list[str]:
    """Return the replies; a failed one is blank.

    Raises:
        EndpointError: All replies failed. Errors of other kinds are always raised.
    """
    errors = [answer for answer in answers if isinstance(answer, BaseException)]
    for error in errors:
        if len(errors) == len(answers) or not isinstance(error, EndpointError):
            raise error
    if errors:
        logger.warning("%d of %d replies failed; the first error: %s", len(errors), len(answers), errors[0])
    replies = [answer for answer in answers if isinstance(answer, ChatReply)]
    if num_thought := sum(reply.outcome is ReplyOutcome.THOUGHT for reply in replies):
        logger.warning(
            "%d of %d replies are blank because the model only thought: give it more tokens or turn its thinking off",
            num_thought,
            len(answers),
        )
    return [answer.text.strip() if isinstance(answer, ChatReply) else "" for answer in answers]
