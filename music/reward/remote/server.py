"""`RewardServer`: one server, its protocol, what it serves, and whether its scores are raw rewards.

A server is checked before its first score. It scores a few conversations, which must not all get the same number.
Unless its protocol guarantees raw rewards, they are compared with scores after an activation, if it can be asked for
some.
"""

import asyncio
import logging
from collections.abc import Sequence

import orjson
from pydantic import ValidationError

from music.aio import finish_all
from music.conversation import Conversation
from music.llm.chat import MalformedReplyError, RequestRejectedError
from music.llm.http import JsonEndpoint
from music.reward.remote.native import MusicWire
from music.reward.remote.rendered import EmbeddingsWire, OpenRlhfWire, RenderedWire, Renderer, SglangWire
from music.reward.remote.settings import RemoteRewardSettings, RewardProtocol
from music.reward.remote.vllm import VllmWire
from music.reward.remote.wire import Reply, ServerModel, Wire
from music.reward.tokens.contract import ScoreContract

__all__ = ["RewardServer"]

logger = logging.getLogger(__name__)

_WIRES: dict[RewardProtocol, type[Wire]] = {
    "music": MusicWire,
    "vllm": VllmWire,
    "sglang": SglangWire,
    "openai-embeddings": EmbeddingsWire,
    "openrlhf": OpenRlhfWire,
}
_OWNERS: dict[str, RewardProtocol] = {"music-rm": "music", "vllm": "vllm", "sglang": "sglang"}
"""Protocols by the `owned_by` of the models that a server lists."""
_HINT = "expected the base URL without /v1, and the model's name there; vLLM needs --runner pooling"
_ACCESS = (401, 403)
_PROBES = (
    Conversation().user("Name a colour.").assistant("Blue."),
    Conversation().user("What is 3 + 4?").assistant("Bananas, bananas, bananas, bananas and bananas."),
    Conversation().user("Hi!").assistant("Hello. How can I help?").user("Plan a walk, please.").assistant("No."),
    Conversation().user("Why is the sky blue?").assistant("Because air scatters blue light more than red light."),
)
_NOISE = 1e-6
"""Largest relative difference between scores that counts as none."""
_ROUNDING = 0.02
"""Largest difference between two scores of one conversation that counts as rounding."""


class RewardServer:
    """One server of a reward model, on one event loop.

    Args:
        model: The model's name on the server.
        base_url: Its base URL.
        settings: Limits on requests.
        slots: Limits the requests in flight.
        protocol: Its protocol; None to ask the server.
        renderer: Renders conversations for servers that do not.

    Raises:
        InvalidInputError: The base URL is not valid.
    """

    def __init__(
        self,
        model: str,
        base_url: str,
        settings: RemoteRewardSettings,
        slots: asyncio.Semaphore,
        protocol: RewardProtocol | None,
        renderer: Renderer,
    ) -> None:
        self.name = f"{model}@{base_url}"
        self.protocol = protocol
        self.wire: Wire | None = None
        """How it is asked; None until it has been checked."""
        self.contract: ScoreContract | None = None
        self.fingerprint = ""
        """Hash of what its scores depend on, as it said last; empty if it says none."""
        self._model, self._base_url = model, base_url
        self._settings, self._slots, self._renderer = settings, slots, renderer
        self._pages = JsonEndpoint(self.name, base_url, _WIRES[protocol or "vllm"].path, settings, hints={})
        self._checking = asyncio.Lock()

    async def score(self, conversations: Sequence[Conversation], per_turn: bool) -> Reply:
        """Score conversations in one request; a server that has not been checked is checked first.

        Raises:
            FailedTryError: The try failed; another one may succeed.
            EndpointError: The try failed, and every other one would, or its numbers are not rewards.
        """
        wire = self.wire or await self.check()
        reply = await wire.ask(conversations, per_turn=per_turn)
        self.fingerprint = reply.fingerprint
        return reply

    async def check(self) -> Wire:
        """Return how the server is asked, after it has been checked once."""
        async with self._checking:
            if self.wire is None:
                await self.identify()
                protocol = self.protocol or await self._find_protocol()
                wire = self._make_wire(protocol)
                await _require_raw(wire)
                self.protocol, self.wire = protocol, wire
        return self.wire

    async def identify(self) -> None:
        """Ask the server for its contract and fingerprint; only `music serve` has them."""
        if self.protocol not in (None, "music"):
            return
        try:
            told = _Contract.model_validate_json(await self._page("contract"))
        except ValidationError:  # a server of another kind
            return
        try:
            self.contract = ScoreContract.model_validate(told.contract)
        except ValidationError:
            said = "expected a score contract of version 3 at GET /contract; serve with the same version of music-rm"
            raise MalformedReplyError(f"{self.name}: {said}") from None
        self.protocol, self.fingerprint = "music", told.fingerprint

    async def aclose(self) -> None:
        """Leave the pool of connections."""
        await self._pages.aclose()
        if self.wire is not None:
            await self.wire.aclose()

    async def _find_protocol(self) -> RewardProtocol:
        """Return the protocol of a server without a contract; that of vLLM if it does not show which it is."""
        for model in _list_at(await self._page("v1/models"), "data"):
            if isinstance(model, dict) and (found := _OWNERS.get(str(model.get("owned_by")))):
                return found
        routes = _list_at(await self._page("openapi.json"), "paths")
        return "openrlhf" if "/get_reward" in routes and "/classify" not in routes else "vllm"

    async def _page(self, path: str) -> bytes:
        """Return the body at a path; empty if there is none."""
        try:
            return await self._pages.get(path)
        except RequestRejectedError as error:
            if error.status in _ACCESS:
                raise
            return b""

    def _make_wire(self, protocol: RewardProtocol) -> Wire:
        kind = _WIRES[protocol]
        found = f"spoken to as {protocol!r}; give another protocol if the server speaks one"
        hints = dict.fromkeys((404, 405), f"{_HINT}; {found}")
        server = (self.name, self._model, self._base_url, self._settings, self._slots, hints)
        return kind(*server, renderer=self._renderer) if issubclass(kind, RenderedWire) else kind(*server)


class _Contract(ServerModel):
    fingerprint: str
    contract: dict[str, object]


def _list_at(page: bytes, key: str) -> list[object]:
    """Return the items or keys of one field of a JSON object; none if there is no such field."""
    try:
        field = orjson.loads(page)[key]
    except (ValueError, KeyError, TypeError):
        return []
    return list(field) if isinstance(field, list | dict) else []


async def _require_raw(wire: Wire) -> None:
    """Check that scores are raw rewards.

    Raises:
        FailedTryError: The server gave no usable answer.
        EndpointError: They are not.
    """
    size = min(wire.max_batch or len(_PROBES), len(_PROBES))
    parts = [_PROBES[start : start + size] for start in range(0, len(_PROBES), size)]
    asked = [wire.ask(part) for part in parts]
    if wire.can_activate:
        asked += [wire.ask(part, activated=True) for part in parts]
    # All end before the first failure is raised, so that a server that fails at first is not asked over and over.
    replies = await finish_all(asked)
    scores = [outcome.scored.score for reply in replies for outcome in reply.outcomes]
    raw = [score for score in scores[: len(_PROBES)] if score is not None]
    if len(raw) > 1 and max(raw) - min(raw) <= _NOISE * max(1.0, abs(raw[0])):
        raise MalformedReplyError(_constant(wire, raw[0], len(raw)))
    if wire.is_raw or len(raw) < len(_PROBES):
        return
    activated = [score for score in scores[-len(_PROBES) :] if score is not None]
    if all(0 <= a <= 1 and abs(a - b) <= _ROUNDING for a, b in zip(raw, activated, strict=True)):
        _warn_of_probabilities(wire, len(raw))


def _constant(wire: Wire, score: float, num: int) -> str:
    said = f"{wire.name}: expected raw rewards, got {score} for {num} different conversations, as "
    if score == 1.0:
        return (
            f"{said}a softmax over the one label gives (SGLang's /v1/classify) or a sigmoid of large rewards: serve "
            "the model with `music serve` or vLLM"
        )
    return f"{said}a model gives whose reward head was never trained, or a server that does not score them"


def _warn_of_probabilities(wire: Wire, num: int) -> None:
    flag = ", and use_activation changes none of them" if wire.can_activate else ""
    ignored = "the server ignores the flag and applies" if wire.can_activate else "the server applies"
    logger.warning(
        "%s: scores may not be raw rewards: those of %d conversations are between 0 and 1%s. That is right if the "
        "model's config.json has problem_type regression. Otherwise %s a sigmoid, which hides differences between good "
        "conversations. Compare with the scores of `music score`.",
        wire.name,
        num,
        flag,
        ignored,
    )
