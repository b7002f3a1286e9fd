"""`ScoringService`: a reward server with one model, in this process."""

from functools import partial
from math import ceil

from music.errors import MusicError
from music.serving.access import AccessRules
from music.serving.config import ServingConfig
from music.serving.engine import ScoringEngine
from music.serving.http import HttpRequest, HttpResponse, HttpService
from music.serving.openapi import ReloadResponse, describe_api
from music.serving.pending import DrainingError, QueueFullError, TooManyTokensError
from music.serving.protocols import PROTOCOLS, RefusedError, ScoringProtocol
from music.serving.protocols.base import encode_conversations
from music.serving.reloading import Reloader
from music.serving.served_model import TEST_CONVERSATION, ServedModel

__all__ = ["ScoringService"]


class ScoringService(HttpService):
    """Answers every request to a reward server. It belongs to one event loop.

    Args:
        served: The model.
        config: The server's settings.
        access: Whom it answers; by default as the settings say.

    Attributes:
        engine: Scores the conversations.
        reloader: Loads other checkpoints.

    Raises:
        InvalidInputError: The settings of access are not valid.
    """

    def __init__(self, served: ServedModel, config: ServingConfig, access: AccessRules | None = None) -> None:
        pages = {
            "/health": self._health,
            "/ready": self._ready,
            "/contract": self._contract,
            "/v1/models": self._models,
            "/metrics": self._counts,
            "/openapi.json": self._api,
        }
        posts = {each.path: partial(self._score, each) for each in PROTOCOLS}
        super().__init__(config, access or AccessRules.of(config), pages, posts)
        self.engine = ScoringEngine(
            served,
            batch_tokens=config.batch_tokens,
            max_wait=config.max_wait / 1000,
            max_queued=config.max_queued,
            max_tokens=config.max_tokens,
            observe=self.metrics.add_batch,
        )
        self.metrics.watch_queue(lambda: self.engine.num_queued)
        self.reloader = Reloader(self.engine, config, self.metrics)
        self._document = describe_api(PROTOCOLS)

    @property
    def is_draining(self) -> bool:
        """Whether new requests are refused."""
        return self.engine.is_draining

    @property
    def num_queued(self) -> int:
        """Number of conversations that wait."""
        return self.engine.num_queued

    async def run(self) -> None:
        """Wait until `aclose`; raises the engine's error if it breaks."""
        await self.engine.run()

    async def reload(self, path: str | None = None) -> ReloadResponse:
        """Load a checkpoint and serve it; see `Reloader`."""
        served = await self.reloader.reload(path)
        return ReloadResponse(model=served.name, fingerprint=served.fingerprint)

    async def drain(self) -> None:
        """Refuse new requests, and wait until all others are answered."""
        await self.engine.drain()

    async def aclose(self) -> None:
        """Stop at once."""
        await self.engine.aclose()

    async def _score(self, protocol: ScoringProtocol, request: HttpRequest) -> HttpResponse:
        query = protocol.read(await self.read(request))
        if query.size > self._config.max_conversations:
            message = f"expected at most {self._config.max_conversations} conversations, got {query.size}"
            raise RefusedError(413, "too_many_conversations", message)
        try:
            answer = await self.engine.score(query.encode, query.size)
        except RefusedError:
            raise
        except MusicError as error:
            raise _refusal(error) from None
        for result in answer.results:
            if result.error is not None:
                self.metrics.add_failure(result.error.code)
        return HttpResponse.of_json(protocol.write(query, answer))

    async def _health(self, _: HttpRequest) -> HttpResponse:
        return HttpResponse.of_json({"status": "ok"})

    async def _ready(self, _: HttpRequest) -> HttpResponse:
        """Answer whether requests get scores; if the newest did not, a test conversation tells whose fault it was."""
        if self.engine.is_draining:
            raise RefusedError(503, "draining", "the server is shutting down")
        if self.engine.is_suspect:
            try:
                encode = partial(encode_conversations, conversations=[TEST_CONVERSATION])
                (result,) = (await self.engine.score(encode, 1)).results
            except MusicError as error:
                raise _refusal(error) from None
            if result.error is not None:
                raise RefusedError(503, result.error.code, f"a test conversation has no score: {result.error.message}")
        return HttpResponse.of_json({"status": "ready"})

    async def _contract(self, _: HttpRequest) -> HttpResponse:
        return HttpResponse.of_json(self.engine.served.describe())

    async def _models(self, _: HttpRequest) -> HttpResponse:
        entry = {"id": self.engine.served.name, "object": "model", "created": 0, "owned_by": "music-rm"}
        return HttpResponse.of_json({"object": "list", "data": [entry]})

    async def _counts(self, _: HttpRequest) -> HttpResponse:
        return HttpResponse(200, self.metrics.text(), "text/plain")

    async def _api(self, _: HttpRequest) -> HttpResponse:
        return HttpResponse.of_json(self._document)


def _refusal(error: MusicError) -> RefusedError:
    """Return how a request is refused for which the engine raised an error."""
    if isinstance(error, QueueFullError):
        return RefusedError(429, "queue_full", str(error), {"Retry-After": str(ceil(error.retry_after))})
    if isinstance(error, DrainingError):
        return RefusedError(503, "draining", str(error), {"Retry-After": "1"})
    if isinstance(error, TooManyTokensError):
        return RefusedError(413, "too_many_tokens", str(error))
    return RefusedError(400, "invalid_request", str(error))
