"""`StateTable`: the hidden states that the cells of a frozen backbone need, so that no cell loads it or tokenises.

`precompute` makes a table before the cells run.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.pairs import PreferencePair
from music.reward.tokens.contract import Unscorable
from music.reward.tokens.encoding import ConversationTokenizer, Encoding
from music_trainers.experiment.sources import PairKey, conversation_key, pair_key
from music_trainers.frozen.features import States
from music_trainers.reward.pairs import EncodedPair, encode_pairs

__all__ = ["EncodedPairs", "MeasuredConversation", "StateTable", "read_table", "require_scorable"]

PAIR_KEY, CONVERSATION_KEY = 32, 16


@dataclass(frozen=True, slots=True)
class MeasuredConversation:
    """A conversation that is measured.

    Attributes:
        name: Its name in errors.
        conversation: The conversation.
    """

    name: str
    conversation: Conversation


class EncodedPairs:
    """Training pairs as tokens, each tokenised once.

    Attributes:
        dropped: Number of pairs that cannot be trained on, by reason.
    """

    def __init__(self, tokens: ConversationTokenizer) -> None:
        self.dropped: Counter[str] = Counter()
        self._tokens = tokens
        self._known: dict[PairKey, EncodedPair | None] = {}
        self._keys: dict[int, tuple[PreferencePair, PairKey]] = {}  # by identity, as hashing takes longer

    def encode(self, pair: PreferencePair) -> tuple[PairKey, EncodedPair | None]:
        """Return a pair's key, and its tokens; None if it cannot be trained on."""
        _, key = self._keys.get(id(pair)) or self._keys.setdefault(id(pair), (pair, pair_key(pair)))
        if key not in self._known:
            found, accounting = encode_pairs(self._tokens, [pair])
            self._known[key] = found[0] if found else None
            self.dropped.update(accounting.num_dropped)
        return key, self._known[key]

    def count_tokens(self, pairs: Sequence[PreferencePair]) -> list[int]:
        """Return the number of tokens on both sides of each pair; 0 for a pair that cannot be trained on."""
        return [encoded.num_tokens if (encoded := self.encode(pair)[1]) else 0 for pair in pairs]

    @property
    def num_tokens(self) -> dict[PairKey, int]:
        """The number of tokens of every pair that was asked for."""
        return {key: encoded.num_tokens if encoded else 0 for key, encoded in self._known.items()}


class StateTable:
    """The hidden states of training pairs and test conversations.

    Attributes:
        head: Weight and bias of the base's own head, `[hidden_size + 1]`; None if the base is a language model.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Read a table from its arrays; see `arrays_of`."""
        self.head: NDArray[np.float32] | None = arrays.get("head")
        self._states: States = arrays["states"]
        pairs = _split(arrays["pairs"], PAIR_KEY)
        self._tokens = dict(zip(pairs, arrays["tokens"].tolist(), strict=True))
        self._sides = dict(zip(pairs, arrays["sides"].tolist(), strict=True))
        turns = zip(_split(arrays["conversations"], CONVERSATION_KEY), arrays["turns"].tolist(), strict=True)
        self._turns = dict(turns)

    @staticmethod
    def arrays_of(
        sides: Mapping[PairKey, tuple[States, States]],
        num_tokens: Mapping[PairKey, int],
        test: Mapping[Conversation, States],
        head: NDArray[np.float32] | None,
    ) -> dict[str, NDArray[Any]]:
        """Return the arrays of a table.

        Args:
            sides: The states at the ends of both sides, of the pairs that are trained on.
            num_tokens: The number of tokens of these and other pairs.
            test: The states after all turns of test conversations.
            head: As the attribute.
        """
        states = [*(state for both in sides.values() for state in both), *test.values()]
        ends = np.cumsum([len(each) for each in states])
        rows = dict(zip(sides, (ends[: 2 * len(sides)] - 1).reshape(-1, 2).tolist(), strict=True))
        turns = np.stack([ends - [len(each) for each in states], ends], axis=1)[2 * len(sides) :]
        arrays = {
            "states": np.concatenate(states),
            "pairs": np.frombuffer(b"".join(num_tokens), np.uint8),
            "tokens": np.array(list(num_tokens.values()), np.int64),
            "sides": np.array([rows.get(key, (-1, -1)) for key in num_tokens], np.int64).reshape(-1, 2),
            "conversations": np.frombuffer(b"".join(map(conversation_key, test)), np.uint8),
            "turns": np.ascontiguousarray(turns),
        }
        return arrays if head is None else {**arrays, "head": head}

    def count_tokens(self, pairs: Sequence[PreferencePair]) -> list[int]:
        """Return the number of tokens on both sides of each pair; 0 for a pair that cannot be trained on."""
        return [self._tokens[pair_key(pair)] for pair in pairs]

    def sides(self, pairs: Iterable[PreferencePair]) -> States:
        """Return the states at the ends of both sides of pairs, `[pairs, 2, hidden_size]`."""
        rows = np.array([self._sides[pair_key(pair)] for pair in pairs], np.int64).reshape(-1, 2)
        return np.asarray(self._states[rows])

    def turns(self, conversation: Conversation) -> States:
        """Return the states after the assistant turns of a test conversation, `[turns, hidden_size]`."""
        begin, end = self._turns[conversation_key(conversation)]
        return np.asarray(self._states[begin:end])


@cache
def read_table(path: Path) -> StateTable:
    """Read a table, once per process."""
    return StateTable(load_file(path))


def require_scorable(tokens: ConversationTokenizer, test: Sequence[MeasuredConversation]) -> list[Encoding]:
    """Tokenise test conversations, with a read after every assistant turn.

    Raises:
        InvalidInputError: Some cannot be scored; the message says how many, why, and names the first.
    """
    found = tokens.encode([each.conversation for each in test], every_turn=True)
    bad = [(each.name, problem) for each, problem in zip(test, found, strict=True) if isinstance(problem, Unscorable)]
    if bad:
        reasons = ", ".join(f"{reason} {num}" for reason, num in Counter(str(problem) for _, problem in bad).items())
        raise InvalidInputError(
            f"{bad[0][0]}: expected conversations that the model can score, got {len(bad)} of {len(test)} that it "
            f"cannot ({reasons}), the first: {bad[0][1]}; raise model.max_length (now {tokens.contract.max_length}), "
            "or remove such items from the files"
        )
    return [encoding for encoding in found if isinstance(encoding, Encoding)]


def _split(joined: NDArray[np.uint8], size: int) -> list[bytes]:
    packed = joined.tobytes()
    return [packed[start : start + size] for start in range(0, len(packed), size)]
