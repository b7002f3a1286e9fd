"""`score_items` scores the items of a benchmark, each conversation once, and writes scores to disk chunk by chunk.

`ScoredModel` is the model that gives the scores; `load_scored_model` loads one by name.
"""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, takewhile
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import music.reward
from music.conversation import Conversation
from music.errors import InvalidInputError
from music.evaluation.benchmarks.types import Item, ItemSet
from music.evaluation.scoring.records import ItemScores, ScoreSet, ScoresHeader, require_scored
from music.evaluation.scoring.store import ScoreStore
from music.reward import RewardFunction, load_reward
from music.reward.tokens.contract import Scored

__all__ = ["ScoredModel", "load_scored_model", "plan_chunks", "score_items"]

CHUNK_CHARACTERS = 1 << 17
"""About 30,000 tokens: several batches on any device, but only seconds of work to lose in a crash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredModel:
    """A reward to be evaluated.

    Attributes:
        name: The name that the user gave.
        reward: The function that gives the scores.
        description: Architecture, device and so on, for people; empty for a baseline.
        fingerprint: A text that changes whenever the scores may change. For a model behind a server it is the model's
            name there. None for a reward that is no model, such as `length`: its scores cost nothing, so those of an
            earlier run are never reused.
    """

    name: str
    reward: RewardFunction
    description: str = ""
    fingerprint: str | None = None


def load_scored_model(name: str) -> ScoredModel:
    """Load the reward that a user named; see `load_reward`.

    Raises:
        InvalidInputError: There is no such reward.

    Example:
        >>> from music.evaluation import load_scored_model
        >>> load_scored_model("length").name
        'length'
    """
    reward = load_reward(name)
    server = getattr(reward, "name", None)  # the name is all that is known of a model behind a server
    return ScoredModel(
        name=name,
        reward=reward,
        description=getattr(reward, "description", ""),
        fingerprint=getattr(reward, "fingerprint", server),
    )


class _Outcome(NamedTuple):
    """The score of a conversation, or why it has none."""

    score: float | None
    problem: str | None = None
    detail: str = ""
    is_truncated: bool = False


@runtime_checkable
class _ExplainingReward(Protocol):
    """A reward that explains why a conversation has no score; `RewardModel` is one."""

    def score_each(self, conversations: Sequence[Conversation]) -> list[Scored]: ...


def score_items(
    items: ItemSet,
    scored_model: ScoredModel,
    path: Path | None = None,
    *,
    strict: bool = True,
    on_scored: Callable[[int], None] | None = None,
) -> ScoreSet:
    """Score all completions of an item set.

    Args:
        items: The items to score.
        scored_model: The model that scores them.
        path: The file of scores (see `ScoreStore`); items that it holds are not scored again. None to write no file.
        strict: Whether the first completion without a score is an error. Otherwise the row of its item gives the
            reason.
        on_scored: Called with the number of newly scored items; first with the number from an earlier run.

    Raises:
        InvalidInputError: A completion does not end with the assistant, a score is not a finite number, or the file is
            of another model or of other items.
        UnscoredError: A completion has no score, and `strict`.

    Example:
        >>> from music.evaluation import ScoredModel, load_benchmark, read_benchmark, score_items
        >>> from music.preferences import write_preferences
        >>> from music.sandbox.world.seeds import seed_pairs
        >>> write_preferences(seed_pairs(20, 0), "pairs.jsonl")
        20
        >>> benchmark = load_benchmark("preferences")
        >>> items = read_benchmark(benchmark, ["pairs.jsonl"])
        >>> shorter = ScoredModel(name="shorter", reward=lambda cs: [-len(c.messages[-1].content) for c in cs])
        >>> scores = score_items(items, shorter)
        >>> len(scores.rows)
        20
    """
    began = time.perf_counter()
    _require_replies(items)
    header = ScoresHeader.of(items, scored_model)
    store = ScoreStore.open(path, header, items) if path is not None else None
    rows = dict(store.rows) if store is not None else {}
    if strict:
        require_scored(rows.values())
    advance = on_scored or (lambda num: None)
    advance(len(rows))
    known: dict[Conversation, _Outcome] = {}
    for chunk in plan_chunks(item for item in items.items if item.id not in rows):
        new = _score_chunk(chunk, scored_model, known)
        if store is not None:
            store.append(new)
        if strict:
            require_scored(new)
        rows |= {row.id: row for row in new}
        advance(len(new))
    return ScoreSet(header=header, rows=rows, seconds=time.perf_counter() - began)


def _require_replies(items: ItemSet) -> None:
    for item in items.items:
        for number, completion in enumerate(item.completions):
            if not completion.messages or completion.next_role == "assistant":
                raise InvalidInputError(f"{item.id}, completion {number}: expected it to end with the assistant")


def _score_chunk(
    chunk: Sequence[Item], scored_model: ScoredModel, known: dict[Conversation, _Outcome]
) -> list[ItemScores]:
    """Return the rows of some items; scores are taken from `known` where it has them, and added to it."""
    needed = dict.fromkeys(completion for item in chunk for completion in item.completions)
    unknown = [conversation for conversation in needed if conversation not in known]
    known.update(zip(unknown, _outcomes(scored_model.reward, unknown), strict=True))
    return [_row(item, [known[completion] for completion in item.completions], scored_model.name) for item in chunk]


def _outcomes(reward: RewardFunction, conversations: Sequence[Conversation]) -> list[_Outcome]:
    if isinstance(reward, _ExplainingReward):
        return [
            _Outcome(each.score, each.problem, "", each.num_dropped_turns > 0)
            for each in reward.score_each(conversations)
        ]
    try:
        return [_Outcome(float(score)) for score in reward(conversations)]
    except music.reward.UnscorableError as error:
        if len(conversations) == 1:
            return [_Outcome(None, "refused", str(error))]
    half = len(conversations) // 2  # the error does not name the conversation
    return [*_outcomes(reward, conversations[:half]), *_outcomes(reward, conversations[half:])]


def _row(item: Item, outcomes: Sequence[_Outcome], model: str) -> ItemScores:
    for number, each in enumerate(outcomes):
        if each.score is not None and not math.isfinite(each.score):
            raise InvalidInputError(
                f"{item.id}, completion {number}: expected a finite score, got {each.score} from {model}; "
                "weights or their dtype are broken"
            )
    bad = next((each for each in outcomes if each.problem is not None), _Outcome(None))
    return ItemScores(
        id=item.id,
        scores=tuple(each.score for each in outcomes),
        problem=bad.problem,
        detail=bad.detail,
        num_truncated=sum(each.is_truncated for each in outcomes),
    )


def plan_chunks(items: Iterable[Item], max_characters: int = CHUNK_CHARACTERS) -> Iterator[list[Item]]:
    """Yield all items in chunks, each to be scored in one call.

    Items whose conversations begin alike are neighbours, so that what they share is computed once. The longest come
    first, so that a conversation that is too long, or too little memory, is found out at once.

    Args:
        items: The items; an item is never split.
        max_characters: The approximate maximum number of characters of a chunk, counting each completion in full.
    """
    families: defaultdict[tuple[str, ...], list[Item]] = defaultdict(list)
    for item in items:
        opening = takewhile(lambda message: message.role != "assistant", item.completions[0].messages)
        families[tuple(message.content for message in opening)].append(item)

    def longest(family: Sequence[Item]) -> int:
        return max(_num_characters(completion) for item in family for completion in item.completions)

    by_length = sorted(families.values(), key=longest, reverse=True)
    chunk: list[Item] = []
    room = max_characters
    for item in chain.from_iterable(by_length):
        size = sum(map(_num_characters, item.completions))
        if chunk and size > room:
            yield chunk
            chunk, room = [], max_characters
        chunk.append(item)
        room -= size
    if chunk:
        yield chunk


def _num_characters(conversation: Conversation) -> int:
    return sum(len(message.content) for message in conversation.messages)
