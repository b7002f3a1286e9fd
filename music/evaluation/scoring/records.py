"""The lines of a file of scores: a header, then the scores of an item each."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from typing import Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, model_validator

from music.errors import InvalidInputError
from music.evaluation.benchmarks.types import Item, ItemSet, Scores
from music.judges.reliability import JudgeReport

__all__ = ["ItemScores", "ScoreSet", "ScoresHeader", "UnscoredError", "hash_items", "require_scored"]

_PACKAGES = ("music-rm", "torch", "transformers")
_SHOWN_IDS = 3


class Named(Protocol):
    """Whatever gives scores, as a file of scores names it; see `ScoredModel` for what the parts mean."""

    @property
    def name(self) -> str:
        """As the user named it."""
        ...

    @property
    def description(self) -> str:
        """For people."""
        ...

    @property
    def fingerprint(self) -> str | None:
        """What tells its scores from others'."""
        ...


class UnscoredError(InvalidInputError):
    """Completions have no score, and the figures would be of fewer items than the benchmark has."""


class ScoresHeader(BaseModel):
    """Whose scores of what a file holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["music.scores"] = "music.scores"
    version: Literal[1] = 1
    benchmark: str
    items: str
    """A hash of the items: of their ids and completions, in order."""
    num_items: int
    model: str
    """As the user named it."""
    description: str
    fingerprint: str | None
    """See `ScoredModel`."""
    versions: dict[str, str]
    """Of the packages that the scores were taken with."""

    @classmethod
    def of(cls, items: ItemSet, scored_model: Named) -> Self:
        """Return the header of a model's scores of an item set."""
        return cls(
            benchmark=items.benchmark,
            items=hash_items(items.items),
            num_items=len(items.items),
            model=scored_model.name,
            description=scored_model.description,
            fingerprint=scored_model.fingerprint,
            versions={package: version(package) for package in _PACKAGES},
        )


class ItemScores(BaseModel):
    """The scores of an item, one for each completion."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    id: str
    scores: tuple[float | None, ...]
    """None where a completion has none."""
    problem: str | None = None
    """Why a completion has no score, in a word or two."""
    detail: str = ""
    """The same in the words of a server."""
    num_truncated: int = 0
    """Completions of which the score does not see the oldest exchanges."""

    @model_validator(mode="after")
    def _missing_only_with_a_problem(self) -> Self:
        if (None in self.scores) != (self.problem is not None):
            raise ValueError("expected a problem where a score is missing, and there alone")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreSet:
    """A model's scores of all items of a set.

    Attributes:
        header: Whose, and of what.
        rows: By the id of an item.
        seconds: What scoring took, without rows of an earlier run.
        judge: How far the scores can be trusted, where they are a judge's.
    """

    header: ScoresHeader
    rows: Mapping[str, ItemScores]
    seconds: float = 0.0
    judge: JudgeReport | None = None

    def of(self, items: Iterable[Item]) -> Scores:
        """Return the scores of items of which every completion has one."""
        return {item.id: _complete(self.rows[item.id].scores) for item in items}


_REMEDIES = {
    "over_long": "raise the model's max_length if it allows, or ",
    "reward_token_missing": "strip trailing newlines from the replies, or ",
}
"""What else helps against a problem."""


def require_scored(rows: Iterable[ItemScores]) -> None:
    """Refuse items of which a completion has no score.

    Raises:
        UnscoredError: There are some.
    """
    missing = [row for row in rows if row.problem is not None]
    if missing:
        counts = ", ".join(f"{problem} {num}" for problem, num in Counter(row.problem for row in missing).items())
        ids = ", ".join(row.id for row in missing[:_SHOWN_IDS]) + (", ..." if len(missing) > _SHOWN_IDS else "")
        remedies = "".join(_REMEDIES.get(str(problem), "") for problem in dict.fromkeys(row.problem for row in missing))
        said = f" ({missing[0].detail})" if missing[0].detail else ""
        raise UnscoredError(
            f"expected scores of all items, got none for a completion of {len(missing)} ({counts}): {ids}{said}; "
            f"{remedies}pass --no-strict to have such items counted and left out"
        )


def _complete(scores: Sequence[float | None]) -> list[float]:
    return [score for score in scores if score is not None]


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
