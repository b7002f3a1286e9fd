"""The protocols whose servers do not render messages: conversations go out as token ids or as text.

`Renderer` makes them from the reward model's own tokenizer, under its score contract: BOS, shortening and the token at
which the reward is read are those of the model in this process.
"""

import asyncio
import threading
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.reward.remote.wire import Outcome, Reply, ServerModel, Wire
from music.reward.tokens.contract import ContractError, Scored, Unscorable

if TYPE_CHECKING:
    from music.reward.tokens.encoding import ConversationTokenizer, Encoding

__all__ = ["EmbeddingsWire", "OpenRlhfWire", "RenderedWire", "Renderer", "SglangWire"]


class Renderer:
    """Conversations as token ids and as text. The tokenizer is loaded on first use, and used by one thread at a time.

    Args:
        path: The reward model's folder or hub id; only its configuration, tokenizer and score contract are read.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._tokens: ConversationTokenizer | None = None
        self._lock = threading.Lock()

    def tokens(self) -> "ConversationTokenizer":
        """Return the path from messages to tokens.

        Raises:
            InvalidInputError: There is no such model, or its tokenizer does not match its contract.
            ContractError: Its scores are means over turns.
        """
        if self._tokens is None:
            self._tokens = _load(self._path)
        return self._tokens

    def encode(self, conversations: Sequence[Conversation]) -> list["Encoding | Unscorable"]:
        """Return conversations as token ids."""
        with self._lock:
            return self.tokens().encode(conversations)

    def write(self, conversation: Conversation, num_dropped_turns: int) -> str:
        """Return a conversation as text, without its oldest exchanges."""
        kept = conversation.without_exchanges(num_dropped_turns).to_messages()
        with self._lock:
            return str(self.tokens().tokenizer.apply_chat_template(kept, tokenize=False))


def _load(path: str) -> "ConversationTokenizer":
    from music.reward.loading.architecture import read_config
    from music.reward.loading.tokenizer import load_tokens

    try:
        tokens = load_tokens(path, read_config(path), None, None, new_head=False)
    except InvalidInputError as error:
        needed = "this server needs the reward model's tokenizer; give its folder or hub id as tokenizer"
        raise InvalidInputError(f"{needed}: {error}") from error
    if tokens.contract.readout != "last":
        raise ContractError(
            f"{path}: expected the readout last, as this server gives one reward, got {tokens.contract.readout}: serve "
            "the model with `music serve`"
        )
    return tokens


class RenderedWire(Wire):
    """A server that is sent token ids or text."""

    def __init__(self, *server: Any, renderer: Renderer) -> None:
        super().__init__(*server)
        self.renderer = renderer

    async def ask(
        self, conversations: Sequence[Conversation], *, per_turn: bool = False, activated: bool = False
    ) -> Reply:
        """Score conversations in one request; see `Wire.ask`."""
        encodings = await asyncio.to_thread(self.renderer.encode, conversations)
        pairs = [(c, e) for c, e in zip(conversations, encodings, strict=True) if not isinstance(e, Unscorable)]
        scores = iter(await self._scores(pairs) if pairs else ())
        return Reply([_outcome(encoding, scores) for encoding in encodings])

    @abstractmethod
    async def _scores(self, pairs: Sequence[tuple[Conversation, "Encoding"]]) -> list[float]:
        """Ask for the scores of conversations, each with its encoding."""

    def _rewards(self, vectors: Sequence[Sequence[float]], num: int, expected: str, answer: bytes) -> list[float]:
        if len(vectors) != num:
            raise self.malformed(f"{expected}, {num} in all", answer)
        return [self.one_reward(vector, len(vector)) for vector in vectors]


def _outcome(encoding: "Encoding | Unscorable", scores: Any) -> Outcome:
    if isinstance(encoding, Unscorable):
        return Outcome(Scored(None, problem=encoding), str(encoding))
    return Outcome(Scored(next(scores), num_dropped_turns=encoding.num_dropped_turns))


class _Embedding(ServerModel):
    embedding: list[float]


_EMBEDDINGS = TypeAdapter(list[_Embedding])


class SglangWire(RenderedWire):
    """SGLang's own `POST /classify` with token ids. Its rewards are raw; `/v1/classify` gives 1.0 for everything."""

    path = "classify"
    is_raw = True

    async def _scores(self, pairs: Sequence[tuple[Conversation, "Encoding"]]) -> list[float]:
        answer = await self.post({"input_ids": [encoding.ids for _, encoding in pairs]})
        expected = "a list with one finite number as embedding[0] of each item"
        try:
            vectors = [each.embedding for each in _EMBEDDINGS.validate_json(answer)]
        except ValidationError:
            raise self.malformed(expected, answer) from None
        return self._rewards(vectors, len(pairs), expected, answer)


class _Embedded(_Embedding):
    index: int


class _Embeddings(ServerModel):
    data: list[_Embedded]


class EmbeddingsWire(RenderedWire):
    """`POST /v1/embeddings` with token ids, which verl uses with SGLang, and which its gateway forwards."""

    path = "v1/embeddings"

    async def _scores(self, pairs: Sequence[tuple[Conversation, "Encoding"]]) -> list[float]:
        answer = await self.post({"model": self.model, "input": [encoding.ids for _, encoding in pairs]})
        expected = "one finite number as data[i].embedding[0]"
        data = sorted(self.read(_Embeddings, answer, expected).data, key=lambda each: each.index)
        if [each.index for each in data] != list(range(len(pairs))):
            raise self.malformed(f"{expected}, {len(pairs)} in all", answer)
        return self._rewards([each.embedding for each in data], len(pairs), expected, answer)


class _Rewards(ServerModel):
    rewards: list[float]


class OpenRlhfWire(RenderedWire):
    """`POST /get_reward` of OpenRLHF's `serve_rm` with rendered text.

    Start it with a `--data.max_len` of at least the contract's `max_length`: it cuts longer texts, and scores the rest.
    """

    path = "get_reward"

    async def _scores(self, pairs: Sequence[tuple[Conversation, "Encoding"]]) -> list[float]:
        texts = await asyncio.to_thread(
            lambda: [self.renderer.write(conversation, encoding.num_dropped_turns) for conversation, encoding in pairs]
        )
        answer = await self.post({"query": texts, "prompts": [""] * len(texts), "labels": [""] * len(texts)})
        expected = "a finite number as rewards[i]"
        rewards = self.read(_Rewards, answer, expected).rewards
        return self._rewards([[reward] for reward in rewards], len(pairs), expected, answer)
