"""`RemoteReward`: a reward model behind vLLM's `POST BASE_URL/classify`, as a plain reward function.

Each conversation is one request in the chat form. The reward is `data[0].probs[0]` with `use_activation` false. Replies
do not reveal whether the server obeys that flag. So the first call scores a few conversations with and without it.
"""

import asyncio
import atexit
import logging
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from music.aio import gather_all, run_in_background
from music.conversation import Conversation
from music.llm.chat import EndpointTimeoutError, EndpointUnavailableError, MalformedReplyError, RequestRejectedError
from music.llm.http import JsonEndpoint
from music.llm.retry import FailedTryError, RetryPolicy, call_with_retries
from music.llm.server_errors import error_excerpt
from music.llm.settings import PostSettings
from music.reward.tokens.contract import UnscorableError

__all__ = ["RemoteReward", "RemoteRewardSettings"]

logger = logging.getLogger(__name__)

_HINTS = {404: "expected the base URL without /v1, and the model's name there; vLLM needs --runner pooling"}
_CONTENT_STATUSES = (400, 413, 422)
"""A server that has scored other conversations answers so if one is too long, or its chat template refuses it."""
_PROBES = (
    Conversation().user("Name a colour.").assistant("Blue."),
    Conversation().user("What is 3 + 4?").assistant("Bananas, bananas, bananas, bananas and bananas."),
    Conversation().user("Hi!").assistant("Hello. How can I help?").user("Plan a walk, please.").assistant("No."),
    Conversation().user("Why is the sky blue?").assistant("Because air scatters blue light more than red light."),
)
_ROUNDING = 0.02
"""Largest difference between two scores of one conversation that counts as rounding."""


class RemoteRewardSettings(PostSettings):
    """Settings of a reward model behind a server.

    Example:
        >>> RemoteRewardSettings(max_in_flight=128).max_in_flight
        128
    """

    max_in_flight: int = Field(default=64, ge=1)
    """Most requests at the same time."""
    retry: RetryPolicy = RetryPolicy()
    """When to repeat a failed request."""


class RemoteReward:
    """A reward model behind a server, as a plain callable.

    Call it from synchronous code, within a running event loop, on threads or in a forked child: requests run on a
    background event loop of the process. A call returns all scores, or it raises and you can call again. A missing
    score never becomes a 0.

    Example:
        >>> reward = RemoteReward("runs/rm", "http://127.0.0.1:8000")  # doctest: +SKIP
        >>> reward([Conversation().user("Hi!").assistant("Hello.")])  # doctest: +SKIP
        [0.73]

    Args:
        model: The model's name on the server.
        base_url: The URL in front of `/classify`, without `/v1`. Keys come from the environment (see
            `music.llm.connection`).
        settings: Timeouts, bounds and retries.

    Raises:
        InvalidInputError: The URL is not an http(s) URL without user, password, query and fragment.
    """

    def __init__(self, model: str, base_url: str, settings: RemoteRewardSettings | None = None) -> None:
        self._model = model
        self._base_url = base_url
        self._settings = settings or RemoteRewardSettings()
        self._endpoint = JsonEndpoint(self.name, base_url, "classify", self._settings, hints=_HINTS)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_checked = False

    def __repr__(self) -> str:
        return f"RemoteReward({self.name!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self._model, self._base_url, self._settings)

    @property
    def name(self) -> str:
        """The server, as `MODEL@BASE_URL`."""
        return f"{self._model}@{self._base_url}"

    def __call__(self, conversations: Sequence[Conversation]) -> list[float]:
        """Score conversations, each of which must end with the assistant.

        Raises:
            UnscorableError: The server refuses a conversation, because it is too long or the chat template refuses it.
            EndpointError: The server gave no usable answer within the allowed tries, or its numbers are not rewards.
        """
        for index, conversation in enumerate(conversations):
            if not conversation.messages or conversation.messages[-1].role != "assistant":
                raise UnscorableError(f"conversation {index}: expected it to end with the assistant")
        try:
            return run_in_background(self._score(conversations))
        except (EndpointUnavailableError, EndpointTimeoutError) as error:
            advice = "nothing was scored; check that the server is up, and call again"
            raise type(error)(f"{error}: {advice}") from None

    def close(self) -> None:
        """Close the connections. You can call this twice. A later call for scores opens new ones."""
        atexit.unregister(self.close)
        self._loop = None
        run_in_background(self._endpoint.aclose())

    async def _score(self, conversations: Sequence[Conversation]) -> list[float]:
        if self._loop is not (loop := asyncio.get_running_loop()):
            # These belong to one event loop: a forked child must not wait for what its parent holds.
            self._loop = loop
            self._slots = asyncio.Semaphore(self._settings.max_in_flight)
            self._checking = asyncio.Lock()
            atexit.register(self.close)  # users of a plain reward function do not close it
        async with self._checking:
            if not self._is_checked:
                await self._check()
                self._is_checked = True
        return await gather_all(
            self._score_one(index, conversation) for index, conversation in enumerate(conversations)
        )

    async def _score_one(self, index: int, conversation: Conversation) -> float:
        """Score one conversation with a server that has scored others."""
        try:
            return await self._ask(conversation)
        except RequestRejectedError as error:
            if error.status not in _CONTENT_STATUSES:
                raise
            raise UnscorableError(f"conversation {index} cannot be scored: {error}") from None

    async def _check(self) -> None:
        """Check that scores are raw rewards.

        Raises:
            EndpointError: They are not, or the server gave no usable answer.
        """
        raw = await gather_all(self._ask(probe) for probe in _PROBES)
        if all(score == 1.0 for score in raw):
            raise MalformedReplyError(
                f"{self.name}: expected raw rewards, got 1.0 for {len(raw)} different conversations, as a softmax over "
                "the one label gives (SGLang's /v1/classify) or a sigmoid of large rewards: serve the model with vLLM"
            )
        activated = await gather_all(self._ask(probe, use_activation=True) for probe in _PROBES)
        if all(0 <= a <= 1 and abs(a - b) <= _ROUNDING for a, b in zip(raw, activated, strict=True)):
            logger.warning(
                "%s: scores may not be raw rewards: those of %d conversations are between 0 and 1, and use_activation "
                "changes none of them. That is right if the model's config.json has problem_type regression. Otherwise "
                "the server ignores the flag and applies a sigmoid, which hides differences between good "
                "conversations. Compare with the scores of `music score`.",
                self.name,
                len(raw),
            )

    async def _ask(self, conversation: Conversation, use_activation: bool = False) -> float:
        fields = {
            "model": self._model,
            "messages": conversation.to_messages(),
            "add_generation_prompt": False,
            "use_activation": use_activation,
        }
        return await call_with_retries(
            self._try_once, self._endpoint.encode(fields), self._settings.retry.within(self._settings.timeout)
        )

    async def _try_once(self, body: bytes, again: bool) -> float:
        async with self._slots:
            answer = await self._endpoint.post(body)
        try:
            (result,) = _Classification.model_validate_json(answer).data
        except ValueError:  # from pydantic, or from unpacking another number of results
            excerpt = error_excerpt(answer, self._endpoint.redact)
            error = MalformedReplyError(f"{self.name}: expected a finite number as data[0].probs[0], got: {excerpt}")
            raise FailedTryError(error) from None
        if result.num_classes != 1 or len(result.probs) != 1:
            raise MalformedReplyError(
                f"{self.name}: expected one reward (num_classes 1), got {len(result.probs)} of {result.num_classes} "
                "classes: serve a reward model with one label"
            )
        return result.probs[0]


class _Result(BaseModel):
    """The fields that are read of vLLM's answer about one conversation."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)

    probs: list[float]
    num_classes: int


class _Classification(BaseModel):
    """The fields that are read of vLLM's answer."""

    data: list[_Result]
