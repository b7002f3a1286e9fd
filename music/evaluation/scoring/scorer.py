"""Items to scores: every conversation once, whoever brings it, and on the disk before the next ones."""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import music.reward
from music.conversation import Conversation
from music.errors import InvalidInputError
from music.evaluation.benchmarks.item import Item, ItemSet
from music.evaluation.scoring.chunks import plan_chunks
from music.evaluation.scoring.records import ItemScores, ScoreSet, ScoresHeader, require_scored
from music.evaluation.scoring.store import ScoreStore
from music.evaluation.scoring.subject import Subject
from music.reward import RewardFunction
from music.reward.tokens.contract import Scored

__all__ = ["score_items"]


class _Outcome(NamedTuple):
    """What came of a conversation."""

    score: float | None
    problem: str | None = None
    detail: str = ""
    is_truncated: bool = False


@runtime_checkable
class _ExplainingReward(Protocol):
    """A reward that says why a conversation has no score; `RewardModel` is one."""

    def score_each(self, conversations: Sequence[Conversation]) -> list[Scored]: ...


def score_items(
    items: ItemSet,
    subject: Subject,
    path: Path | None = None,
    *,
    strict: bool = True,
    on_scored: Callable[[int], None] | None = None,
) -> ScoreSet:
    """Score all completions of an item set.

    Args:
        items: What to score.
        subject: Who scores.
        path: File of scores (see `ScoreStore`); items that it holds are not scored again. Without it, nothing is kept.
        strict: Whether a completion without a score is an error, as soon as it is met; otherwise its item's row says
            why.
        on_scored: Told how many items were scored or taken up, as it goes.

    Raises:
        InvalidInputError: A completion does not end with the assistant, a score is no finite number, or the file is not
            of this model and these items.
        UnscoredError: A completion has no score, and `strict`.
    """
    began = time.perf_counter()
    _require_replies(items)
    header = ScoresHeader.of(items, subject)
    store = ScoreStore.open(path, header, items) if path is not None else None
    rows = dict(store.rows) if store is not None else {}
    if strict:
        require_scored(rows.values())
    tell = on_scored or (lambda _: None)
    tell(len(rows))
    known: dict[Conversation, _Outcome] = {}
    for chunk in plan_chunks(item for item in items.items if item.id not in rows):
        new = _score_chunk(chunk, subject, known)
        if store is not None:
            store.append(new)
        if strict:
            require_scored(new)
        rows |= {row.id: row for row in new}
        tell(len(new))
    return ScoreSet(header=header, rows=rows, seconds=time.perf_counter() - began)


def _require_replies(items: ItemSet) -> None:
    for item in items.items:
        for number, completion in enumerate(item.completions):
            if not completion.messages or completion.next_role == "assistant":
                raise InvalidInputError(f"{item.id}, completion {number}: expected it to end with the assistant")


def _score_chunk(chunk: Sequence[Item], subject: Subject, known: dict[Conversation, _Outcome]) -> list[ItemScores]:
    """Score the conversations of some items that are not known yet, and remember them."""
    needed = dict.fromkeys(completion for item in chunk for completion in item.completions)
    unknown = [conversation for conversation in needed if conversation not in known]
    known.update(zip(unknown, _outcomes(subject.reward, unknown), strict=True))
    return [_row(item, [known[completion] for completion in item.completions], subject.name) for item in chunk]


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
    half = len(conversations) // 2  # it does not say which one
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
