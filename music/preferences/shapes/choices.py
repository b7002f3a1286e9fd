"""Shapes of two replies, or two conversations, and a verdict on which is better."""

from collections.abc import Callable

from music.preferences.messages import parse_messages, required
from music.preferences.problems import RowError, RowProblem
from music.preferences.said import Said
from music.preferences.shapes.format import Format
from music.preferences.shapes.prompts import Prompt, read_prompt
from music.preferences.shapes.shape import Fields, Found, Shape, compared

__all__ = ["SHAPES", "read_number"]

_WINNERS = {"model_a": 1, "a": 1, "model_b": -1, "b": -1}


def read_number(fields: Fields, name: str) -> float:
    """Return a field that must hold a number, as text perhaps.

    Raises:
        RowError: It does not, or it holds none.
    """
    value = fields.get(name)
    try:
        number = float(value) if value is not None else float("nan")
    except (TypeError, ValueError):
        number = float("nan")
    if number != number:
        raise RowError(RowProblem.MISSING_VERDICT, name, expected="a number", got=repr(value)[:40])
    return number


def _replies(prompt: str, first: str, second: str, verdict: Callable[[Fields], float]) -> Callable[[Fields], Found]:
    """Return a reader of two replies to one prompt; the verdict is above 0 for the first."""

    def read(fields: Fields) -> Found:
        asked = _asked(fields, prompt)
        one, other = (asked.followed_by(required(fields, name), name) for name in (first, second))
        return compared(one, other, verdict(fields))

    return read


def _asked(fields: Fields, name: str) -> Prompt:
    """Read a prompt; WebGPT's questions have their text in a field of their own."""
    value = fields.get(name)
    if isinstance(value, dict) and "full_text" in value:
        return Prompt([Said("user", str(value["full_text"]), name)], is_text=True)
    return read_prompt(fields, name)


def _which(name: str, first: int) -> Callable[[Fields], float]:
    """Return the verdict of a column that names the better reply by 0 or 1."""

    def verdict(fields: Fields) -> float:
        number = read_number(fields, name)
        if number not in (0, 1):
            raise RowError(RowProblem.MISSING_VERDICT, name, expected="0 or 1", got=repr(fields[name])[:40])
        return 1.0 if number == first else -1.0

    return verdict


def _less(name: str) -> Callable[[Fields], float]:
    return lambda fields: -read_number(fields, name)


def _difference(fields: Fields) -> float:
    return read_number(fields, "score_0") - read_number(fields, "score_1")


def _arena(fields: Fields) -> Found:
    """Read a battle of two models; votes on an early turn (MT-Bench's) are on the conversations cut there."""
    winner = str(fields["winner"]).strip().lower()
    is_tie = winner.startswith(("tie", "both"))
    if not is_tie and winner not in _WINNERS:
        expected = "model_a, model_b or a tie"
        raise RowError(RowProblem.MISSING_VERDICT, "winner", expected=expected, got=repr(fields["winner"])[:40])
    first, second = (_up_to_turn(fields, f"conversation_{side}") for side in "ab")
    return compared(first, second, 0 if is_tie else _WINNERS[winner])


def _up_to_turn(fields: Fields, name: str) -> list[Said]:
    said = parse_messages(required(fields, name), name)
    turn = fields.get("turn")
    ends = [place for place, one in enumerate(said, start=1) if one.role == "assistant"]
    if isinstance(turn, bool) or not isinstance(turn, int) or not 0 < turn <= len(ends):
        return said
    return said[: ends[turn - 1]]


def _choice(
    format: Format, prompt: str, first: str, second: str, verdict: str, read: Callable[[Fields], float]
) -> Shape:
    return Shape(
        format=format,
        columns=(prompt, first, second, verdict),
        wants="two replies and a verdict",
        read=_replies(prompt, first, second, read),
    )


SHAPES: tuple[Shape, ...] = (
    _choice(Format.PKU, "prompt", "response_0", "response_1", "better_response_id", _which("better_response_id", 0)),
    _choice(Format.HELPSTEER3, "context", "response1", "response2", "overall_preference", _less("overall_preference")),
    _choice(
        Format.HELPSTEER2_PREFERENCE,
        *("prompt", "response_1", "response_2", "preference_strength"),
        _less("preference_strength"),
    ),
    _choice(Format.SHP, "history", "human_ref_A", "human_ref_B", "labels", _which("labels", 1)),
    Shape(
        format=Format.WEBGPT,
        columns=("question", "answer_0", "answer_1", "score_0", "score_1"),
        wants="two answers and their scores",
        read=_replies("question", "answer_0", "answer_1", _difference),
    ),
    Shape(
        format=Format.ARENA,
        columns=("conversation_a", "conversation_b", "winner"),
        wants="two conversations and a winner",
        read=_arena,
    ),
)
