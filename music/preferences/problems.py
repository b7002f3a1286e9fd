"""Why a row cannot be used."""

from enum import StrEnum

__all__ = ["RowError", "RowProblem"]


class RowProblem(StrEnum):
    """The kinds of bad rows, as they are counted."""

    INVALID_JSON = "invalid_json"
    MISSING_SIDE = "missing_side"
    MISSING_PROMPT = "missing_prompt"
    WRONG_TYPE = "wrong_type"
    UNKNOWN_ROLE = "unknown_role"
    EMPTY_TEXT = "empty_text"
    ROLES_OUT_OF_ORDER = "roles_out_of_order"
    NO_REPLY = "no_reply"
    IDENTICAL_SIDES = "identical_sides"


class RowError(Exception):
    """One row is bad; within this room it is counted, or worded for the user by whoever knows the row's place."""

    def __init__(self, problem: RowProblem, field: str, *, expected: str, got: str) -> None:
        super().__init__(f"{field}: expected {expected}, got {got}")
        self.problem = problem
