"""`match_turns`: which turns exchange their replies.

Requests are compared by the cosine of their TF-IDF vectors. The turns are divided at random into blocks, and each is
compared with all others of its block, so time grows with the number of turns and not with its square. The most similar
pair of turns is matched first; a matched turn is not matched again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from music.seeding import derive_seed
from music_agents.swap.config import SwapConfig
from music_agents.swap.turns import Integers, TurnTable

__all__ = ["Matches", "match_turns"]

BLOCK_TURNS = 8192
"""Turns that are compared with each other."""
CHUNK_TURNS = 512
"""Turns that are compared at once; they bound the memory."""
MAX_PARTNERS = 32
"""Possible partners that are kept for a turn, the most similar ones."""
WORD = r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+"
"""A word, or one character of a script that has no spaces."""


@dataclass(frozen=True, slots=True)
class Matches:
    """The partner of every turn.

    Attributes:
        partners: Row of the partner in the `TurnTable`; -1 for none.
        similarities: Similarity of the two requests.
    """

    partners: Integers
    similarities: npt.NDArray[np.float64]

    @property
    def num_matched(self) -> int:
        """Turns that have a partner."""
        return int((self.partners >= 0).sum())


def match_turns(table: TurnTable, config: SwapConfig) -> Matches:
    """Match turns of different conversations with similar requests and replies of similar length.

    Two turns are not matched if their conversations begin with the same message, if their requests or their replies are
    equal, if only one reply is a refusal, or if only one turn is its conversation's first: later replies refer back.
    """
    found = Matches(np.full(len(table), -1, dtype=np.int64), np.zeros(len(table)))
    vectors = _vectors(table.requests)
    if vectors is None:
        return found
    usable = np.flatnonzero(table.sound) if config.gates else np.arange(len(table))
    order = np.random.default_rng(derive_seed(config.seed, "blocks")).permutation(usable)
    for block in np.array_split(order, max(1, -(-len(order) // BLOCK_TURNS))):
        edges = list(_edges(vectors[block], block, table, config))
        first, second, similarity = (np.concatenate(part) for part in zip(*edges, strict=True)) if edges else _NONE
        for place in np.lexsort((second, first, -similarity)).tolist():
            one, other = int(first[place]), int(second[place])
            if found.partners[one] < 0 and found.partners[other] < 0:
                found.partners[one], found.partners[other] = other, one
                found.similarities[[one, other]] = similarity[place]
    return found


_NONE = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))


def _vectors(requests: list[str]) -> Any:
    """Return the sparse TF-IDF vectors of requests, of length 1; None if they hold no word."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(token_pattern=WORD, sublinear_tf=True, dtype=np.float32)
    try:
        return vectorizer.fit_transform(requests)
    except ValueError:  # an empty vocabulary
        return None


def _edges(vectors: Any, block: Integers, table: TurnTable, config: SwapConfig) -> Iterator[tuple[Any, Any, Any]]:
    """Yield pairs of rows that may be matched, and their similarities, for some turns at a time."""
    others = vectors.T.tocsr()
    for start in range(0, len(block), CHUNK_TURNS):
        product = (vectors[start : start + CHUNK_TURNS] @ others).tocoo()
        similarity = product.data
        near = np.flatnonzero((similarity >= config.min_similarity) & (similarity <= config.max_similarity))
        near = near[product.col[near] > product.row[near] + start]  # each pair once
        first, second = block[product.row[near] + start], block[product.col[near]]
        similarity = similarity[near].astype(np.float64).round(4)
        fits = np.flatnonzero(_may_swap(table, first, second, config.max_length_ratio))
        yield _most_similar(first[fits], second[fits], similarity[fits])


def _may_swap(table: TurnTable, first: Integers, second: Integers, max_ratio: float) -> npt.NDArray[np.bool_]:
    """Return whether the turns of two rows may exchange their replies, whatever the similarity of their requests."""
    fits = table.refusals[first] == table.refusals[second]
    fits &= (table.turns[first] == 0) == (table.turns[second] == 0)
    for ids in (table.conversations, table.openings, table.request_ids, table.reply_ids):
        fits &= ids[first] != ids[second]
    one, other = table.lengths[first], table.lengths[second]
    result: npt.NDArray[np.bool_] = fits & (np.maximum(one, other) <= max_ratio * np.minimum(one, other))
    return result


def _most_similar(first: Integers, second: Integers, similarity: Any) -> tuple[Any, Any, Any]:
    """Keep the `MAX_PARTNERS` most similar partners of each first row."""
    order = np.lexsort((second, -similarity, first))
    first, second, similarity = first[order], second[order], similarity[order]
    _, starts, counts = np.unique(first, return_index=True, return_counts=True)
    ranks = np.arange(len(first)) - np.repeat(starts, counts)
    kept = ranks < MAX_PARTNERS
    return first[kept], second[kept], similarity[kept]
