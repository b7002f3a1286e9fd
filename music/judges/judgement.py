"""`Judgement`: one answer of a judge, or why there is none."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

__all__ = ["Judgement", "Problem"]

T_co = TypeVar("T_co", covariant=True)


class Problem(StrEnum):
    """Why there is no judgement."""

    UNREADABLE = "unreadable"
    """The reply does not end with a mark, or holds several."""
    EMPTY = "empty"
    CUT = "cut"
    """At the endpoint's limit of tokens."""
    THOUGHT = "thought"
    """The judge thought and gave no answer: it may need more tokens, or its thinking switched off."""
    TOOL_CALL = "tool_call"
    FILTERED = "filtered"
    REFUSED = "refused"
    """The endpoint refused the request: the conversations may be too long for the judge."""
    NO_REPLY = "no_reply"
    """No usable reply came, after the client's tries."""
    BUDGET = "budget"
    """It was not asked for: the budget was spent."""


@dataclass(frozen=True, slots=True)
class Judgement(Generic[T_co]):
    """One answer of a judge.

    Attributes:
        value: What it says; None if there is a problem.
        problem: Why it says nothing.
        detail: The same, for people.
    """

    value: T_co | None
    problem: Problem | None = None
    detail: str = ""
