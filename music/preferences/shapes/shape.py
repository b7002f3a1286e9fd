"""`Format`, the names of the shapes of rows, and `Shape`, which recognises and reads the rows of one shape."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from typing import Any, NamedTuple

from music.errors import InvalidInputError
from music.preferences.problems import RowError, RowProblem
from music.preferences.row_messages import RowMessage

__all__ = ["Fields", "Format", "Found", "Shape", "Sides", "compared", "parse_format", "ranked"]

Fields = Mapping[str, Any]
"""The columns of a row, by name."""


class Format(StrEnum):
    """The known formats of rows, each with its columns; other columns are ignored."""

    SKYWORK = "skywork"
    """`chosen`, `rejected`: whole conversations. TRL's conversational format with an implicit prompt, argilla's sets
    and the rows of `music simulate` have this shape too."""
    HH = "hh"
    r"""`chosen`, `rejected`: transcripts, "\n\nHuman: ...\n\nAssistant: ..."; or replies to such a `prompt`."""
    ULTRAFEEDBACK = "ultrafeedback"
    """`prompt`: the user's message; `chosen`, `rejected`: replies as text, or whole conversations."""
    TRL = "trl"
    """`prompt`: messages; `chosen`, `rejected`: the messages that follow."""
    ALPACA = "alpaca"
    """`instruction`, perhaps `input`, `system`, `history`; `chosen`, `rejected`: replies (LLaMA-Factory)."""
    SHAREGPT = "sharegpt"
    """`conversations`: messages; `chosen`, `rejected`: the message that follows (LLaMA-Factory)."""
    AXOLOTL = "axolotl"
    """`messages`; `chosen`, `rejected`: the message that follows."""
    MS_SWIFT = "ms-swift"
    """`messages`: the chosen conversation; `rejected_response`: another last reply, or several."""
    MS_SWIFT_MESSAGES = "ms-swift-messages"
    """`messages`, `rejected_messages`: whole conversations."""
    PKU = "pku-saferlhf"
    """`prompt`, `response_0`, `response_1`, `better_response_id`."""
    HELPSTEER3 = "helpsteer3"
    """`context`: messages; `response1`, `response2`, `overall_preference`: below 0 for the first."""
    HELPSTEER2_PREFERENCE = "helpsteer2-preference"
    """`prompt`, `response_1`, `response_2`, `preference_strength`: below 0 for the first."""
    SHP = "shp"
    """`history`, `human_ref_A`, `human_ref_B`, `labels`: 1 for A."""
    WEBGPT = "webgpt"
    """`question`, `answer_0`, `answer_1`, `score_0`, `score_1`."""
    ARENA = "arena"
    """`conversation_a`, `conversation_b`, `winner`; cut after `turn`, if there is one."""
    NECTAR = "nectar"
    """`prompt`, `answers`: `{answer, rank}`, the best of rank 1."""
    COMPLETIONS = "ultrafeedback-raw"
    """`instruction`, `completions`: `{response, overall_score}`."""
    HELPSTEER2 = "helpsteer2"
    """`prompt`, `response`, `helpfulness`; consecutive rows of one prompt are compared."""
    OASST = "oasst"
    """`prompt`: a tree of messages, each with its `replies` and their `rank`, the best of rank 0."""
    MESSAGES = "messages"
    """`messages`: one conversation; no pair."""
    CONVERSATIONS = "conversations"
    """`conversations`: one conversation; no pair."""
    PROMPT = "prompt"
    """`prompt`: text or messages; no pair."""
    EXCHANGES = "exchanges"
    """`history`: a list of `[request, reply]`, or of `{user, bot}` (MT-Bench-101); no pair."""


def parse_format(name: str | None) -> Format | None:
    """Return the format of a name; None for None.

    Raises:
        InvalidInputError: There is no format of that name.
    """
    if name is None:
        return None
    if name not in set(Format):
        raise InvalidInputError(f"--format: expected one of {', '.join(Format)}; got {name!r}")
    return Format(name)


class Sides(NamedTuple):
    """The two sides of a pair, as whole conversations."""

    chosen: list[RowMessage]
    rejected: list[RowMessage]


class Found(NamedTuple):
    """The pairs of a row, and the number of comparisons that ended in a tie."""

    pairs: list[Sides]
    num_ties: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A shape of rows.

    Attributes:
        format: The name of its format.
        columns: The columns that its rows have, none of them null.
        wants: What the columns must hold, in words.
        read: Reads a row; raises a `RowError` if it is bad.
        fits: Whether the values of a row with these columns are of the right kinds.
    """

    format: Format
    columns: tuple[str, ...]
    wants: str
    read: Callable[[Fields], Found]
    fits: Callable[[Fields], bool] = lambda _: True

    def is_shape_of(self, fields: Fields) -> bool:
        """Whether a row is of this shape."""
        return all(fields.get(name) is not None for name in self.columns) and self.fits(fields)


def compared(first: list[RowMessage], second: list[RowMessage], verdict: float) -> Found:
    """Return the pair of two conversations; a verdict above 0 is for the first, below 0 for the second, 0 a tie."""
    if not verdict:
        return Found([], num_ties=1)
    return Found([Sides(first, second) if verdict > 0 else Sides(second, first)])


def ranked(sides: Sequence[tuple[float, list[RowMessage]]]) -> Found:
    """Return a pair for every two conversations of different worth; equal ones are ties.

    Raises:
        RowError: There are fewer than two conversations.
    """
    if len(sides) < 2:
        expected = "at least two replies to compare"
        raise RowError(RowProblem.ONE_REPLY, "replies", expected=expected, got=str(len(sides)))
    found = [compared(one, other, worth - less) for (worth, one), (less, other) in combinations(sides, 2)]
    return Found([pair for each in found for pair in each.pairs], sum(each.num_ties for each in found))
