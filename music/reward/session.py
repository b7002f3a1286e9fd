"""`RewardSession`: candidates scored turn after turn, over keys and values that are kept."""

from collections.abc import Sequence
from statistics import fmean

import torch
from torch import Tensor
from transformers import DynamicCache

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.reward.attention import SegmentTable
from music.reward.forward import PackedScorer, row_tokens
from music.reward.grouping import num_common, score_sequences
from music.reward.packing import PackedRow, TokenSequence, plan_rows
from music.reward.tokens import ConversationTokenizer, Encoding

__all__ = ["RewardSession"]


class RewardSession:
    """Scores candidate replies to a history that grows turn by turn; each token of the history is computed once.

    The scores are those of the whole conversations, up to rounding. What is kept from one call to the next are the
    tokens with which all candidates' conversations began, and they are compared with the next ones token by token. So
    where the template writes the history in another way from then on, only what comes before the difference is used.

    That is how it goes beyond the contract's `max_length` too: once whole exchanges are dropped from the left,
    conversations begin differently (behind a system message), and the history is computed afresh, at every
    turn at which a further exchange is dropped. If only some candidates are so long, nothing is kept at that turn.

    The model's weights must not change while the session lasts.

    Example:
        >>> session = model.session(Conversation().user("Hi!"))  # doctest: +SKIP
        >>> session.score_candidates(["Hello.", "What?"])  # doctest: +SKIP
        [0.73, -0.2]
        >>> session.extend("Hello.", "How are you?")  # doctest: +SKIP
    """

    def __init__(
        self,
        scorer: PackedScorer,
        tokens: ConversationTokenizer,
        history: Conversation,
        *,
        max_tokens: int | None = None,
    ) -> None:
        """Begin with a history; nothing is computed yet.

        Args:
            scorer: In eval mode.
            tokens: The model's path from messages to tokens.
            history: It ends with the user.
            max_tokens: About the most tokens of candidates in one forward pass; by default what suits the device.

        Raises:
            InvalidInputError: The history does not end with the user.
        """
        if history.next_role != "assistant":
            raise InvalidInputError("a session's history: expected it to end with the user, whom a candidate answers")
        self._scorer = scorer
        self._tokens = tokens
        self._history = history
        self._max_tokens = max_tokens or row_tokens(scorer.classifier.device)
        self._forget()

    @property
    def history(self) -> Conversation:
        """The conversation so far, which ends with the user."""
        return self._history

    def extend(self, reply: str, user: str) -> None:
        """Go on with the assistant's reply, a candidate or any other, and the user's next message."""
        self._history = self._history.assistant(reply).user(user)

    def score_candidates(self, candidates: Sequence[str]) -> list[float]:
        """Return one score per candidate reply to the history.

        Raises:
            UnscorableError: A conversation with a candidate has no score.
        """
        if not candidates:
            return []
        whole = [self._history.assistant(candidate) for candidate in candidates]
        names = [f"candidate {index}" for index in range(len(whole))]
        encodings = self._tokens.encode_all(whole, names=names)
        # What all share lies between the lowest and the highest; every candidate keeps a token of its own to read at.
        low, high = min(e.ids for e in encodings), max(e.ids for e in encodings)
        shared = min(num_common(low, high), min(len(e.ids) for e in encodings) - 1)
        self._keep(low[:shared], sorted({read for e in encodings for read in e.reads if read < shared}))
        own = score_sequences(self._score_candidates, [_behind(e, shared) for e in encodings], self._max_tokens)
        return [
            fmean([*(self._rewards[read] for read in encoding.reads if read < shared), *rewards])
            for encoding, rewards in zip(encodings, own, strict=True)
        ]

    def _keep(self, ids: list[int], reads: Sequence[int]) -> None:
        """Hold these tokens in the cache, with the rewards at these reads; only what is new is computed."""
        num_kept = num_common(self._ids, ids)
        num_kept = min([num_kept, *(read for read in reads if read not in self._rewards)])
        self._crop(self._ids[:num_kept])
        if num_kept < len(ids):
            reads = [read for read in reads if read >= num_kept]
            new = TokenSequence(ids[num_kept:], tuple(read - num_kept for read in reads))
            (row,) = plan_rows([[new]], len(new.ids)).rows
            rewards = self._forward(row).tolist()
            self._crop(ids)
            self._rewards |= zip(reads, rewards, strict=True)

    def _score_candidates(self, row: PackedRow) -> Tensor:
        """Return the rewards of a row that goes on from the cache, which stays as it was."""
        rewards = self._forward(row)
        self._crop(self._ids)
        return rewards

    @torch.no_grad()
    def _forward(self, row: PackedRow) -> Tensor:
        """Return the rewards of a row that goes on from the cache, which then holds the row as well."""
        device, num_cached = self._scorer.classifier.device, len(self._ids)
        ids, positions = row.input_ids().to(device), row.positions().to(device) + num_cached
        table = SegmentTable.of(row, num_cached)
        try:
            hidden = self._scorer.hidden(ids, positions, table, past_key_values=self._cache, use_cache=True)
        except BaseException:  # out of memory, say: some layers have cached the row, others have not
            self._forget()
            raise
        return self._scorer.head(hidden[row.reads().to(device)])

    def _forget(self) -> None:
        """Empty the cache."""
        self._cache = DynamicCache()  # without a config it keeps all keys, also beyond a sliding window
        self._ids: list[int] = []  # tokens in the cache
        self._rewards: dict[int, float] = {}  # by the token in the cache at which they were read

    def _crop(self, ids: list[int]) -> None:
        """Cut the cache back to these tokens, which it begins with."""
        self._cache.crop(len(ids) - self._cache.get_seq_length())
        self._ids = ids
        self._rewards = {read: reward for read, reward in self._rewards.items() if read < len(ids)}


def _behind(encoding: Encoding, num_shared: int) -> TokenSequence:
    """Return what of a conversation lies behind the shared tokens."""
    reads = tuple(read - num_shared for read in encoding.reads if read >= num_shared)
    return TokenSequence(encoding.ids[num_shared:], reads)
