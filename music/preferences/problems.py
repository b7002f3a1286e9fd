"""The reasons why a row cannot be used, and the changes made to rows that can."""

from enum import StrEnum

from music.errors import MusicError

__all__ = ["Change", "RowError", "RowProblem"]


class RowProblem(StrEnum):
    """The kinds of bad rows, by which they are counted."""

    INVALID_JSON = "invalid_json"
    MISSING_SIDE = "missing_side"
    MISSING_PROMPT = "missing_prompt"
    MISSING_VERDICT = "missing_verdict"
    WRONG_TYPE = "wrong_type"
    UNKNOWN_ROLE = "unknown_role"
    EMPTY_TEXT = "empty_text"
    ROLES_OUT_OF_ORDER = "roles_out_of_order"
    NO_REPLY = "no_reply"
    ONE_REPLY = "one_reply"
    IDENTICAL_SIDES = "identical_sides"


class Change(StrEnum):
    """The changes that are counted in rows that are used; a summary prints the value behind the number."""

    EMPTY_SYSTEM = "empty system messages left out"
    MERGED = "messages merged with the one before, by the same speaker"
    UNUSABLE_SIDES = "pairs left out of rows that give several"
    REPEATED_ID = "repeated ids made unique (id, id#2, ...)"
    TOOLS = "pairs with tool messages"


class RowError(MusicError):
    """A row is bad. Readers count it, or report it with its place."""

    def __init__(self, problem: RowProblem, field: str, *, expected: str, got: str) -> None:
        super().__init__(f"{field}: expected {expected}, got {got}")
        self.problem = problem
