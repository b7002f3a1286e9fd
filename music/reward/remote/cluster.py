"""`RewardCluster`: the servers of one reward model, as one scorer on one event loop.

Conversations go out in batches, each to the replica of its route (`music.reward.remote.batches`). A failed request goes
to another replica, or to the same one after a wait. One that the server refuses is halved until only the conversations
that it refuses are left. Replicas must serve the same model: fingerprints are compared where the servers tell them.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from itertools import islice

from music.aio import gather_all
from music.conversation import Conversation
from music.llm.chat import EndpointError, RequestRejectedError
from music.llm.health import Replicas
from music.llm.retry import FailedTryError, call_with_retries
from music.reward.remote.batches import Batch, home_of, make_batches
from music.reward.remote.rendered import Renderer
from music.reward.remote.server import RewardServer
from music.reward.remote.settings import RemoteRewardSettings, RewardProtocol
from music.reward.remote.wire import Outcome, Reply, Wire
from music.reward.tokens.contract import Scored, Unscorable

__all__ = ["RewardCluster"]

_CONTENT_STATUSES = (400, 413, 422)
"""A server that has scored other conversations answers so if one is too long, or its chat template refuses it."""


class RewardCluster:
    """The servers of one reward model.

    Args:
        model: The model's name on the servers.
        urls: Their base URLs.
        settings: Limits and retries.
        protocol: Their protocol; None to ask them.
        renderer: Renders conversations for servers that do not.

    Raises:
        InvalidInputError: There is no server, one is listed twice, or a URL is not valid.
    """

    def __init__(
        self,
        model: str,
        urls: Sequence[str],
        settings: RemoteRewardSettings,
        protocol: RewardProtocol | None,
        renderer: Renderer,
    ) -> None:
        slots = asyncio.Semaphore(settings.max_in_flight)
        servers = [RewardServer(model, url, settings, slots, protocol, renderer) for url in urls]
        self._replicas = Replicas(servers)
        self._settings = settings
        self._policy = settings.retry.within(settings.timeout)
        self._opening = asyncio.Lock()

    @property
    def servers(self) -> tuple[RewardServer, ...]:
        """The servers."""
        return self._replicas.clients

    async def open(self) -> RewardServer:
        """Check all servers that can be reached, once, and return one that was checked.

        Raises:
            EndpointError: No server could be checked, or one serves another model or gives no rewards.
        """
        async with self._opening:
            if not any(server.wire for server in self.servers):
                await gather_all(self._try_check(server) for server in self.servers[1:])
                await call_with_retries(self._check_any, None, self._policy)
        await self._require_one_model()
        # None is left if those of different models went down when they were asked again.
        return next((server for server in self.servers if server.wire), None) or await self.open()

    async def score(self, conversations: Sequence[Conversation], per_turn: bool = False) -> list[Outcome]:
        """Score conversations, each of which ends with the assistant.

        Args:
            conversations: The conversations.
            per_turn: Whether to return the reward after each turn too.

        Raises:
            EndpointError: A server gave no usable answer within the allowed tries, or replicas serve different models.
        """
        wire = (await self.open()).wire
        assert wire is not None
        if not per_turn or wire.has_turns:
            return await self._score(conversations, wire, per_turn)
        cut = [each.prefix(end) for each in conversations for end in each.turn_ends]
        prefixes = iter(await self._score(cut, wire, per_turn=False))
        return [_join(list(islice(prefixes, each.num_turns))) for each in conversations]

    async def aclose(self) -> None:
        """Leave the pool of connections."""
        for server in self.servers:
            await server.aclose()

    async def _score(self, conversations: Sequence[Conversation], wire: Wire, per_turn: bool) -> list[Outcome]:
        names = [server.name for server in self._replicas.live]
        size = min(self._settings.max_batch, wire.max_batch or self._settings.max_batch)
        batches = make_batches(conversations, names, max_size=size, max_chars=self._settings.max_batch_chars)
        for _ in range(2):  # once more if a server loaded another checkpoint in between
            outcomes: dict[int, Outcome] = {}
            fingerprints: set[str] = set()
            await gather_all(self._fill(batch, per_turn, outcomes, fingerprints) for batch in batches)
            await self._require_one_model()
            if len(fingerprints) <= 1:
                return [outcomes[index] for index in range(len(conversations))]
        raise EndpointError(f"{names[0]}: the server's model changed twice during the call: nothing was scored")

    async def _fill(self, batch: Batch, per_turn: bool, outcomes: dict[int, Outcome], fingerprints: set[str]) -> None:
        """Score a batch into `outcomes`."""
        try:
            reply = await call_with_retries(partial(self._try_once, per_turn), batch, self._policy)
        except RequestRejectedError as error:
            if error.status not in _CONTENT_STATUSES:
                raise
            if len(batch.indices) > 1:
                await gather_all(self._fill(half, per_turn, outcomes, fingerprints) for half in batch.halves())
            else:
                outcomes[batch.indices[0]] = Outcome(Scored(None, problem=Unscorable.REFUSED), str(error))
        else:
            outcomes.update(zip(batch.indices, reply.outcomes, strict=True))
            fingerprints.add(reply.fingerprint)

    async def _try_once(self, per_turn: bool, batch: Batch, again: bool) -> Reply:
        def prefer(servers: Sequence[RewardServer]) -> RewardServer:
            home = home_of(batch.route, [server.name for server in servers])
            return next(server for server in servers if server.name == home)

        async def ask(server: RewardServer) -> Reply:
            if server.wire is None:
                await server.check()
                await self._require_one_model()
            return await server.score(batch.conversations, per_turn)

        return await self._replicas.attempt(prefer, ask)

    async def _check_any(self, _: None, again: bool) -> Wire:
        return await self._replicas.attempt(lambda servers: servers[0], RewardServer.check)

    async def _try_check(self, server: RewardServer) -> None:
        """Check a server; one that fails is checked again before its first score."""
        try:
            await self._replicas.attempt(lambda _: server, RewardServer.check)
        except FailedTryError:
            return

    async def _require_one_model(self) -> None:
        """Check that the servers serve the same model by the same protocol.

        Raises:
            EndpointError: They do not.
        """
        if len(_kinds(self.servers)) > 1:  # ask again: one may have loaded what the others have
            await gather_all(_identify(server) for server in self.servers if server.wire)
        if len(kinds := _kinds(self.servers)) > 1:
            told = " and ".join(f"{server.name} serves {kind}" for kind, server in list(kinds.items())[:2])
            raise EndpointError(f"expected replicas of one reward model, but {told}: serve the same checkpoint on all")


async def _identify(server: RewardServer) -> None:
    """Ask a server again what it serves; one that does not answer is checked before its next score."""
    try:
        await server.identify()
    except FailedTryError:
        server.wire = None


def _kinds(servers: Sequence[RewardServer]) -> dict[str, RewardServer]:
    """Return a server of each model and protocol among those that were checked."""
    checked = [server for server in servers if server.wire]
    return {f"fingerprint {each.fingerprint}" if each.fingerprint else f"{each.protocol}": each for each in checked}


def _join(prefixes: Sequence[Outcome]) -> Outcome:
    """Return the outcome of a conversation from those of its beginnings, one for each turn."""
    failed = next((each for each in prefixes if each.scored.problem is not None), None)
    if failed is not None:
        return failed
    turns = tuple(each.scored.score for each in prefixes if each.scored.score is not None)
    last = prefixes[-1].scored
    return Outcome(Scored(last.score, turns, last.num_dropped_turns))
