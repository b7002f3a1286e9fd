"""`RemoteReward`: a reward model behind one or more servers, with the interface of the model in this process."""

import asyncio
import atexit
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from music.aio import await_in_background, run_in_background
from music.conversation import Conversation
from music.errors import InvalidInputError
from music.llm.chat import EndpointTimeoutError, EndpointUnavailableError
from music.reward.remote.cluster import RewardCluster
from music.reward.remote.rendered import RenderedWire, Renderer
from music.reward.remote.server import RewardServer
from music.reward.remote.settings import RemoteRewardSettings, RewardProtocol
from music.reward.remote.wire import Outcome
from music.reward.tokens.contract import ScoreContract, Scored, Unscorable, UnscorableError

__all__ = ["RemoteReward"]

Result = TypeVar("Result")


class RemoteReward:
    """A reward model behind servers, as a plain callable with the methods of `RewardModel`.

    Call it from synchronous code, within a running event loop, on threads or in a forked child: requests run on a
    background event loop of the process. `ascore`, `ascore_each`, `ascore_turns` and `ascore_candidates` can be awaited
    on any loop. A call returns all scores, or it raises and you can call again. A missing score never becomes a 0.

    | protocol | server | requests |
    |---|---|---|
    | `music` | `music serve` | many conversations; rewards after each turn; errors of single conversations |
    | `vllm` | vLLM, `/classify` | one conversation |
    | `sglang` | SGLang, `/classify` | token ids of many conversations |
    | `openai-embeddings` | SGLang behind its gateway, `/v1/embeddings` | token ids of many conversations |
    | `openrlhf` | OpenRLHF's `serve_rm`, `/get_reward` | texts of many conversations |

    The first call finds the protocol of `music serve`, vLLM, SGLang and OpenRLHF, and checks that scores are raw
    rewards. The last three protocols need the reward model's tokenizer here.

    Several servers are replicas. A conversation goes to the same replica as it grows, whose prefix cache knows its
    beginning. Requests of a replica that is down go to others until it answers again.

    Example:
        >>> reward = RemoteReward("runs/rm", "http://127.0.0.1:8300")  # doctest: +SKIP
        >>> reward([Conversation().user("Hi!").assistant("Hello.")])  # doctest: +SKIP
        [0.73]

    Args:
        model: The model's name on the servers.
        base_url: The URL in front of the protocol's path, without `/v1`; several for replicas. Keys come from the
            environment (see `music.llm.connection`).
        settings: Timeouts, bounds and retries.
        protocol: One of the table; None to ask the servers. A server that does not show its protocol is taken for vLLM.
        tokenizer: Folder or hub id of the reward model, for protocols that need its tokenizer. By default `model`.

    Raises:
        InvalidInputError: There is no URL, one is given twice, or one is not an http(s) URL without user, password,
            query and fragment.
    """

    def __init__(
        self,
        model: str,
        base_url: str | Sequence[str],
        settings: RemoteRewardSettings | None = None,
        *,
        protocol: RewardProtocol | None = None,
        tokenizer: str | None = None,
    ) -> None:
        self._model = model
        self._urls = (base_url,) if isinstance(base_url, str) else tuple(base_url)
        self._settings = settings or RemoteRewardSettings()
        self._protocol = protocol
        self._tokenizer = tokenizer
        self._cluster = self._new_cluster()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_open = False

    def __repr__(self) -> str:
        return f"RemoteReward({self.name!r})"

    def __reduce__(self) -> tuple[object, ...]:
        make = partial(type(self), protocol=self._protocol, tokenizer=self._tokenizer)
        return make, (self._model, self._urls, self._settings)

    @property
    def name(self) -> str:
        """The servers, as `MODEL@BASE_URL`, with further URLs after commas."""
        return f"{self._model}@{','.join(self._urls)}"

    @property
    def contract(self) -> ScoreContract | None:
        """The score contract: what `music serve` tells, or that of the tokenizer's folder; None for vLLM."""
        return run_in_background(self._contract())

    @property
    def fingerprint(self) -> str | None:
        """The hash of what scores depend on, as `music serve` told it last; None for other servers."""
        return run_in_background(self._open()).fingerprint or None

    def __call__(self, conversations: Sequence[Conversation]) -> list[float]:
        """Score conversations; see `score`."""
        return self.score(conversations)

    def score(self, conversations: Sequence[Conversation], *, timeout: float | None = None) -> list[float]:
        """Return one score per conversation, each of which must end with the assistant.

        Args:
            conversations: Conversations in any order.
            timeout: Most seconds for the whole call, with all retries. The settings bound each request.

        Raises:
            UnscorableError: A conversation has no score, for example because it is too long.
            EndpointError: The servers gave no usable answer within the allowed tries, or their numbers are not rewards,
                or replicas serve different models.
        """
        return run_in_background(self._scores(conversations, timeout))

    def score_each(self, conversations: Sequence[Conversation], *, timeout: float | None = None) -> list[Scored]:
        """Score conversations as `score` does, but return a problem instead of raising `UnscorableError`."""
        return run_in_background(self._each(conversations, timeout))

    def score_turns(self, conversations: Sequence[Conversation], *, timeout: float | None = None) -> list[list[float]]:
        """Return, per conversation, the reward after each assistant turn.

        `music serve` gives them in one pass. Other servers score the conversation cut after each turn.
        """
        return run_in_background(self._turns(conversations, timeout))

    def score_candidates(
        self, history: Conversation, candidates: Sequence[str], *, timeout: float | None = None
    ) -> list[float]:
        """Score each candidate reply to a history that ends with the user.

        `music serve` gets the history once and computes it once.

        Raises:
            InvalidInputError: The history does not end with the user.
            UnscorableError: A conversation with a candidate has no score.
            EndpointError: As `score`.
        """
        return run_in_background(self._candidates(history, candidates, timeout))

    def fits(self, conversations: Sequence[Conversation]) -> list[bool]:
        """Return whether each conversation is scored as a whole; True where the server does not say.

        Long conversations are scored for this, short ones are not.
        """
        return run_in_background(self._fits(conversations))

    async def ascore(
        self,
        conversations: Sequence[Conversation],
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - as in `score`
    ) -> list[float]:
        """Score conversations; see `score`."""
        return await await_in_background(self._scores(conversations, timeout))

    async def ascore_each(
        self,
        conversations: Sequence[Conversation],
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - as in `score_each`
    ) -> list[Scored]:
        """Score conversations; see `score_each`."""
        return await await_in_background(self._each(conversations, timeout))

    async def ascore_turns(
        self,
        conversations: Sequence[Conversation],
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - as in `score_turns`
    ) -> list[list[float]]:
        """Score the turns of conversations; see `score_turns`."""
        return await await_in_background(self._turns(conversations, timeout))

    async def ascore_candidates(
        self,
        history: Conversation,
        candidates: Sequence[str],
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - as in `score_candidates`
    ) -> list[float]:
        """Score candidate replies; see `score_candidates`."""
        return await await_in_background(self._candidates(history, candidates, timeout))

    def close(self) -> None:
        """Close the connections. You can call this twice. A later call for scores opens new ones."""
        atexit.unregister(self.close)
        self._is_open = False
        run_in_background(self._cluster.aclose())

    async def _scores(self, conversations: Sequence[Conversation], seconds: float | None) -> list[float]:
        names = [f"conversation {index}" for index in range(len(conversations))]
        return await self._scores_of(names, conversations, seconds)

    async def _scores_of(
        self, names: Sequence[str], conversations: Sequence[Conversation], seconds: float | None
    ) -> list[float]:
        for name, conversation in zip(names, conversations, strict=True):
            if not _has_reply(conversation):
                raise UnscorableError(f"{name}: expected it to end with the assistant")
        outcomes = await self._within(seconds, lambda cluster: cluster.score(conversations))
        return [_require_score(name, outcome) for name, outcome in zip(names, outcomes, strict=True)]

    async def _each(self, conversations: Sequence[Conversation], seconds: float | None) -> list[Scored]:
        answered = [conversation for conversation in conversations if _has_reply(conversation)]
        outcomes = iter(await self._within(seconds, lambda cluster: cluster.score(answered)))
        return [
            next(outcomes).scored if _has_reply(conversation) else Scored(None, problem=Unscorable.NO_REPLY)
            for conversation in conversations
        ]

    async def _turns(self, conversations: Sequence[Conversation], seconds: float | None) -> list[list[float]]:
        ends = [conversation.turn_ends for conversation in conversations]
        cut = [each.prefix(end[-1]) for each, end in zip(conversations, ends, strict=True) if end]
        outcomes = iter(await self._within(seconds, lambda cluster: cluster.score(cut, per_turn=True)))
        turns: list[list[float]] = []
        for index, end in enumerate(ends):
            outcome = next(outcomes) if end else None
            if outcome is not None:
                _require_score(f"conversation {index}", outcome)
            turns.append(list(outcome.scored.turns) if outcome else [])
        return turns

    async def _candidates(self, history: Conversation, candidates: Sequence[str], seconds: float | None) -> list[float]:
        if history.next_role != "assistant":
            raise InvalidInputError("score_candidates: expected a history that ends with the user")
        whole = [history.assistant(candidate) for candidate in candidates]
        return await self._scores_of([f"candidate {index}" for index in range(len(whole))], whole, seconds)

    async def _fits(self, conversations: Sequence[Conversation]) -> list[bool]:
        contract = await self._contract()
        long = [each for each in conversations if contract is not None and _most_tokens(each) > contract.max_length]
        is_short = {
            c: not s.num_dropped_turns and s.problem is not Unscorable.OVER_LONG
            for c, s in zip(long, await self._each(long, None) if long else [], strict=True)
        }
        return [is_short.get(each, True) for each in conversations]

    async def _contract(self) -> ScoreContract | None:
        server = await self._open()
        if isinstance(server.wire, RenderedWire):
            return (await asyncio.to_thread(server.wire.renderer.tokens)).contract
        return server.contract

    async def _open(self) -> RewardServer:
        return await self._within(None, RewardCluster.open)

    async def _within(self, seconds: float | None, work: Callable[[RewardCluster], Awaitable[Result]]) -> Result:
        """Await work with the servers; errors of servers that do not answer say what to do."""
        advice = "nothing was scored; check that the server is up, and call again"
        try:
            async with asyncio.timeout(seconds) as limit:
                return await work(self._cluster_of_this_loop())
        except (EndpointUnavailableError, EndpointTimeoutError) as error:
            raise type(error)(f"{error}: {advice}") from None
        except TimeoutError:
            if not limit.expired():
                raise
            raise EndpointTimeoutError(f"{self.name}: no scores within {seconds:g} s: {advice}") from None

    def _cluster_of_this_loop(self) -> RewardCluster:
        loop = asyncio.get_running_loop()
        if self._loop not in (None, loop):
            # What waits belongs to one event loop: a forked child must not wait for what its parent holds.
            self._cluster, self._is_open = self._new_cluster(), False
        self._loop = loop
        if not self._is_open:
            self._is_open = True
            atexit.register(self.close)  # users of a plain reward function do not close it
        return self._cluster

    def _new_cluster(self) -> RewardCluster:
        renderer = Renderer(self._tokenizer or self._model)
        return RewardCluster(self._model, self._urls, self._settings, self._protocol, renderer)


def _has_reply(conversation: Conversation) -> bool:
    return bool(conversation.messages) and conversation.messages[-1].role == "assistant"


def _most_tokens(conversation: Conversation) -> int:
    """Return what the tokens of a conversation hardly exceed: one per byte, and what a chat template adds."""
    return 64 + sum(len(message.content.encode()) + 32 for message in conversation.messages)


def _require_score(name: str, outcome: Outcome) -> float:
    if outcome.scored.score is None:
        raise UnscorableError(f"{name} cannot be scored: {outcome.why}")
    return outcome.scored.score
