"""The lines of a file of scores: a header, then one line for each item."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib.metadata import version
from typing import Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, model_validator

from music.errors import InvalidInputError
from music.evaluation.benchmarks.types import Item, ItemSet, Scores
from music.judges.reliability import JudgeReport
from music.judges.settings import read_ensemble, read_judge

__all__ = ["NOT_IN_FILE", "ItemScores", "ScoreSet", "ScoresHeader", "UnscoredError", "hash_items", "require_scored"]

_PACKAGES = ("music-rm", "torch", "transformers")
_SHOWN_IDS = 3
NOT_IN_FILE = "not_in_file"
"""The problem of an item that a file of imported scores does not have. Such a file may hold a subset."""


class Scorer(Protocol):
    """A model or judge, as a file of scores identifies it; `ScoredModel` explains the properties."""

    @property
    def name(self) -> str:
        """The name that the user gave."""
        ...

    @property
    def description(self) -> str:
        """A description for people."""
        ...

    @property
    def fingerprint(self) -> str | None:
        """What distinguishes its scores from those of others."""
        ...


class UnscoredError(InvalidInputError):
    """Completions have no score, so the figures would be of fewer items than the benchmark has."""


class ScoresHeader(BaseModel):
    """The header of a file of scores: the model and the items."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["music.scores"] = "music.scores"
    version: Literal[1] = 1
    benchmark: str
    items: str
    """A hash of the ids and completions of the items, in order."""
    num_items: int
    model: str
    """The name that the user gave."""
    description: str
    fingerprint: str | None
    """See `ScoredModel`."""
    versions: dict[str, str]
    """The versions of the packages that computed the scores."""

    @property
    def is_judge(self) -> bool:
        """Whether a judge, or several, gave the scores."""
        return (read_judge(self.model) or read_ensemble(self.model)) is not None

    @classmethod
    def of(cls, items: ItemSet, scorer: Scorer) -> Self:
        """Return the header of the file of a scorer's scores of an item set."""
        return cls(
            benchmark=items.benchmark,
            items=hash_items(items.items),
            num_items=len(items.items),
            model=scorer.name,
            description=scorer.description,
            fingerprint=scorer.fingerprint,
            versions={package: version(package) for package in _PACKAGES},
        )


class ItemScores(BaseModel):
    """The scores of an item's completions."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    id: str
    scores: tuple[float | None, ...]
    """One score for each completion; None for a completion without one."""
    problem: str | None = None
    """Why a completion has no score, in a word or two."""
    detail: str = ""
    """The message of the server, if it refused the completion."""
    num_truncated: int = 0
    """The number of completions that were scored without their oldest exchanges."""
    partial: tuple[float, ...] = ()
    """If a judge that compares lacks a judgement, the scores from those that it gave."""

    @model_validator(mode="after")
    def _missing_only_with_a_problem(self) -> Self:
        if (None in self.scores) != (self.problem is not None):
            raise ValueError("expected a problem where a score is missing, and only there")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreSet:
    """A model's scores of all items of a set.

    Attributes:
        header: The model and the items.
        rows: The scores by item id.
        seconds: The time that scoring took, without the rows of an earlier run.
        judge: The reliability of the scores, if a judge gave them.
    """

    header: ScoresHeader
    rows: Mapping[str, ItemScores]
    seconds: float = 0.0
    judge: JudgeReport | None = None

    def of(self, items: Iterable[Item]) -> Scores:
        """Return the scores of items whose completions all have one; items without completions have no entry."""
        rows = [self.rows[item.id] for item in items if item.completions]
        return {row.id: [each for each in row.scores if each is not None] for row in rows}

    def with_ties(self) -> Self:
        """Return scores in which the completions of an item without scores are tied, at the mean of all scores."""
        known = [each for row in self.rows.values() for each in row.scores if each is not None]
        level = sum(known) / max(1, len(known))
        return self._filled({row.id: (level,) * len(row.scores) for row in self.rows.values()})

    def with_partial(self) -> Self:
        """Return scores in which an item that lacks a judgement has the scores from those that the judge gave."""
        return self._filled({row.id: row.partial for row in self.rows.values() if row.partial})

    def _filled(self, scores: Mapping[str, tuple[float, ...]]) -> Self:
        rows = {
            row.id: ItemScores(id=row.id, scores=scores[row.id]) if row.problem and row.id in scores else row
            for row in self.rows.values()
        }
        return replace(self, rows=rows)


_REMEDIES = {
    "over_long": "raise the model's max_length if it allows, or ",
    "reward_token_missing": "strip trailing newlines from the replies, or ",
}
"""Further fixes for some problems."""


def require_scored(rows: Iterable[ItemScores]) -> None:
    """Refuse items with a completion that has no score. A file of imported scores may lack items.

    Raises:
        UnscoredError: There is such an item.
    """
    missing = [row for row in rows if row.problem not in (None, NOT_IN_FILE)]
    if missing:
        counts = ", ".join(f"{problem} {num}" for problem, num in Counter(row.problem for row in missing).items())
        ids = ", ".join(row.id for row in missing[:_SHOWN_IDS]) + (", ..." if len(missing) > _SHOWN_IDS else "")
        remedies = "".join(_REMEDIES.get(str(problem), "") for problem in dict.fromkeys(row.problem for row in missing))
        detail = f" ({missing[0].detail})" if missing[0].detail else ""
        raise UnscoredError(
            f"expected scores of all items, got none for a completion of {len(missing)} ({counts}): {ids}{detail}; "
            f"{remedies}pass --no-strict to have such items counted and left out, or counted as ties if a judge failed"
        )


def hash_items(items: Iterable[Item]) -> str:
    """Return a hash of the ids and completions of items, in order."""
    digest = sha256()
    for item in items:
        digest.update(f"item {len(item.id)} {item.id}".encode())
        for completion in item.completions:
            digest.update(b"completion")
            for message in completion.messages:
                digest.update(f"{message.role} {len(message.content)} {message.content}{message.tool_calls}".encode())
    return digest.hexdigest()
