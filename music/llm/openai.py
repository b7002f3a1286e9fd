"""The client of OpenAI-compatible servers: `POST BASE_URL/chat/completions` over aiohttp.

`music.llm.field_support` writes a request's body, `music.llm.http` sends it, and `music.llm.completion` reads the
reply. `music.llm.retry` decides when to try again, `music.llm.pacing` how fast to ask.
"""

import asyncio
import logging
from dataclasses import replace

import orjson

from music.llm.chat import ChatReply, ChatRequest, EndpointError, RequestRejectedError
from music.llm.completion import read_completion
from music.llm.estimates import num_chars
from music.llm.field_support import FieldSupport
from music.llm.http import JsonEndpoint
from music.llm.pacing import Pacer
from music.llm.retry import FailedTryError, RetryPolicy, Sleep, call_with_retries
from music.llm.settings import ClientSettings

__all__ = ["OpenAIChatModel"]

logger = logging.getLogger(__name__)

_HINTS = {404: "is the base URL right? It usually ends in /v1", 413: "the conversation may be too long"}


class OpenAIChatModel:
    """A `ChatModel` behind an OpenAI-compatible endpoint.

    A body with the status 200 is still a failed try if it holds an error, or a reply that broke off or ended for an
    unknown reason. Lone surrogates and NUL in replies are replaced by U+FFFD. Redirects are not followed.

    Args:
        model: Name of the model on the server.
        base_url: For example `https://api.openai.com/v1`; keys come from the environment (`music.llm.connection`).
        settings: Time-outs, limits and retries.
        sleep: Waits between tries; by default the pacer, whose waits `stop_waiting` ends.

    Raises:
        InvalidInputError: The URL is not an http(s) URL without user, password, query and fragment, or the environment
            variable of a header or query value is not set.
    """

    def __init__(
        self, model: str, base_url: str, settings: ClientSettings | None = None, *, sleep: Sleep | None = None
    ) -> None:
        self._model = model
        self._name = f"{model}@{base_url}"
        self._settings = settings or ClientSettings()
        self._policy = self._settings.bounded_retry
        self.pacer = Pacer(self._settings.pacing, max_wait=self._settings.timeout)
        self._sleep = sleep or self.pacer.sleep
        self._endpoint = JsonEndpoint(
            self._name, base_url, "chat/completions", self._settings, hints=_HINTS, learn=self.pacer.learn
        )
        # OpenAI's newer models refuse the field name that every other server accepts.
        usual = "max_completion_tokens" if self._endpoint.url.host == "api.openai.com" else "max_tokens"
        given = self._settings.connection.max_tokens_field
        self.field_support = FieldSupport(max_tokens_field=given or usual, is_field_given=given is not None)

    def __repr__(self) -> str:
        return f"OpenAIChatModel({self._name!r})"

    @property
    def name(self) -> str:
        """The endpoint, as `MODEL@BASE_URL`."""
        return self._name

    @property
    def model(self) -> str:
        """The model's name on the server."""
        return self._model

    @property
    def endpoints(self) -> tuple["OpenAIChatModel", ...]:
        """The clients whose pace displays show: this one."""
        return (self,)

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer one request; see `music.llm.chat.ChatModel`."""
        return await call_with_retries(self.try_once, request, self._policy, self._sleep)

    async def complete_under(self, policy: RetryPolicy, request: ChatRequest) -> ChatReply:
        """Answer one request under another retry policy than that of the settings."""
        return await call_with_retries(self.try_once, request, policy, self._sleep)

    @property
    def retry(self) -> RetryPolicy:
        """The retry policy of `complete`."""
        return self._policy

    async def try_once(self, request: ChatRequest, again: bool = False) -> ChatReply:
        """Send a request once, when the pacer and the request's payer admit it.

        Args:
            request: The request.
            again: Whether it has been tried before; such requests go first.

        Raises:
            FailedTryError: The try failed; another one may succeed.
            EndpointError: The try failed, and every other one would.
            MusicError: The payer admits no more tries.
        """
        support = self.field_support
        while True:
            try:
                reply = await self._try_on(support, request, again)
            except RequestRejectedError as error:
                conceded = support.without(error.refused_field, request) if error.refused_field else None
                if conceded is None:
                    raise
                support, again = conceded, True
            else:
                if support is not self.field_support:
                    self._adopt(support)
                return reply

    async def _try_on(self, support: FieldSupport, request: ChatRequest, again: bool) -> ChatReply:
        """Send a request once with the supported fields; raises as `try_once` does."""
        tokens = self.pacer.estimate(request)
        ticket = await self.pacer.enter(tokens, again=again)
        end: ChatReply | BaseException | None = None
        try:
            if request.payer is not None:
                request.payer.admit(request)
            body = self._endpoint.encode(support.body(self._model, request))
            length = num_chars(request)  # now, while the messages are in the CPU's cache: after the wait it is slow
            answer = await self._endpoint.post(body)
            end = read_completion(answer, self._name, self._model, self._endpoint.redact)
            self.pacer.usage.learn(length, end)
            return end
        except (EndpointError, asyncio.CancelledError) as error:
            end = error
            if request.payer is not None and (usage := self.pacer.usage.of_failed_try(request, error)):
                await request.payer.pay(request, replace(usage, model=self._model))
            raise
        finally:
            is_held_back = self.pacer.leave(ticket, end, tokens)
            if isinstance(end, FailedTryError):
                end.at_once = is_held_back

    def _adopt(self, support: FieldSupport) -> None:
        """Use the fields with which a request succeeded from now on, and log what is newly left out."""
        before, self.field_support = self.field_support, self.field_support.limited_to(support)
        for refused in self.field_support.unsupported:
            if refused not in before.unsupported:
                logger.warning("%s refuses %s: later requests leave it out", self._name, refused)

    def stop_waiting(self) -> None:
        """Fail requests that are not in flight with `StoppedWaitingError`, until `resume_waiting`."""
        self.pacer.stop_waiting()

    def resume_waiting(self) -> None:
        """Let requests wait again."""
        self.pacer.resume_waiting()

    async def list_models(self) -> tuple[str, ...]:
        """Return the names of the models that the server lists at `GET BASE_URL/models`; empty if it lists none."""
        try:
            answer = await self._endpoint.get("models")
            return tuple(str(model["id"]) for model in orjson.loads(answer)["data"])
        except (EndpointError, orjson.JSONDecodeError, KeyError, TypeError):
            return ()

    async def aclose(self) -> None:
        """Leave the pool of connections; the last user closes it."""
        await self._endpoint.aclose()
