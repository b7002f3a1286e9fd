"""Shapes of several replies, or conversations, with a verdict, a score or a rank.

Two replies and a verdict give one pair. Replies with ranks or scores give a pair for every two that differ.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from music.preferences.messages import parse_messages, required
from music.preferences.problems import RowError, RowProblem
from music.preferences.row_messages import RowMessage
from music.preferences.shapes.prompts import Prompt, read_prompt
from music.preferences.shapes.shape import Fields, Format, Found, Shape, compared, ranked
from music.preferences.sources import Row

__all__ = ["GROUPED", "SHAPES", "grouped", "is_rating", "read_number"]

_WINNERS = {"model_a": 1, "a": 1, "model_b": -1, "b": -1}
GROUPED = "responses"
"""The column that holds the rows, in a row that stands for consecutive rows of one prompt."""
_PROMPTER = "prompter"
_COLUMNS = {"prompt", "response", "helpfulness"}


def read_number(fields: Fields, name: str) -> float:
    """Return a field that must hold a number, or the text of one.

    Raises:
        RowError: The field is missing, or does not hold a number.
    """
    value = fields.get(name)
    try:
        number = float(value) if value is not None else float("nan")
    except (TypeError, ValueError):
        number = float("nan")
    if number != number:
        raise RowError(RowProblem.MISSING_VERDICT, name, expected="a number", got=repr(value)[:40])
    return number


def is_rating(columns: Iterable[str]) -> bool:
    """Whether the columns of a row rate one reply, so that `grouped` combines it with others."""
    return _COLUMNS.issubset(columns)


def grouped(rows: Iterable[Row]) -> Iterator[Row]:
    """Combine consecutive rows that rate replies to one prompt (HelpSteer2) into one row."""
    held: Row | None = None
    for row in rows:
        rates = isinstance(row.content, dict) and is_rating(row.content)
        if held is not None and rates and row.content["prompt"] == held.content["prompt"]:
            replies = [*held.content[GROUPED], row.content]
            held = replace(held, content=held.content | {GROUPED: replies}, span=held.span + 1)
            continue
        if held is not None:
            yield held
        held = replace(row, content=row.content | {GROUPED: [row.content]}) if rates else None
        if held is None:
            yield row
    if held is not None:
        yield held


def _two_replies(prompt: str, first: str, second: str, verdict: Callable[[Fields], float]) -> Callable[[Fields], Found]:
    """Return a reader of two replies to one prompt; a verdict above 0 is for the first."""

    def read(fields: Fields) -> Found:
        asked = _asked(fields, prompt)
        one, other = (asked.followed_by(required(fields, name), name) for name in (first, second))
        return compared(one, other, verdict(fields))

    return read


def _asked(fields: Fields, name: str) -> Prompt:
    """Read a prompt; WebGPT's questions are objects that hold the text."""
    value = fields.get(name)
    if isinstance(value, dict) and "full_text" in value:
        return Prompt([RowMessage("user", str(value["full_text"]), name)], is_text=True)
    return read_prompt(fields, name)


def _which(name: str, first: int) -> Callable[[Fields], float]:
    """Return a function that reads the verdict of a column that is 0 or 1; `first` stands for the first reply."""

    def verdict(fields: Fields) -> float:
        number = read_number(fields, name)
        if number not in (0, 1):
            raise RowError(RowProblem.MISSING_VERDICT, name, expected="0 or 1", got=repr(fields[name])[:40])
        return 1.0 if number == first else -1.0

    return verdict


def _less(name: str) -> Callable[[Fields], float]:
    return lambda fields: -read_number(fields, name)


def _arena(fields: Fields) -> Found:
    """Read a battle of two models; if the vote is on an early turn (MT-Bench), the conversations are cut there."""
    winner = str(fields["winner"]).strip().lower()
    is_tie = winner.startswith(("tie", "both"))
    if not is_tie and winner not in _WINNERS:
        expected = "model_a, model_b or a tie"
        raise RowError(RowProblem.MISSING_VERDICT, "winner", expected=expected, got=repr(fields["winner"])[:40])
    first, second = (_up_to_turn(fields, f"conversation_{side}") for side in "ab")
    return compared(first, second, 0 if is_tie else _WINNERS[winner])


def _up_to_turn(fields: Fields, name: str) -> list[RowMessage]:
    messages = parse_messages(required(fields, name), name)
    turn = fields.get("turn")
    if isinstance(turn, float) and turn.is_integer():  # as pandas writes whole numbers
        turn = int(turn)
    ends = [place for place, one in enumerate(messages, start=1) if one.role == "assistant"]
    if isinstance(turn, bool) or not isinstance(turn, int) or turn < 1:
        return messages
    if turn > len(ends):
        expected = f"at least {turn} turns, as turn {turn} was judged"
        raise RowError(RowProblem.WRONG_TYPE, name, expected=expected, got=str(len(ends)))
    return messages[: ends[turn - 1]]


def _choice(
    format: Format, prompt: str, first: str, second: str, verdict: str, read: Callable[[Fields], float]
) -> Shape:
    return Shape(
        format=format,
        columns=(prompt, first, second, verdict),
        wants="two replies and a verdict",
        read=_two_replies(prompt, first, second, read),
    )


def _ranked_replies(fields: Fields, prompt: str, items: str, text: str, worth: str, sign: int) -> Found:
    """Rank the replies of a list of objects by one of their fields."""
    asked, replies = read_prompt(fields, prompt), required(fields, items)
    if not isinstance(replies, list) or not all(isinstance(reply, dict) for reply in replies):
        raise RowError(RowProblem.WRONG_TYPE, items, expected="a list of objects", got=type(replies).__name__)
    return ranked(
        [
            (sign * read_number(reply, worth), asked.followed_by(required(reply, text), f"{items}[{index}].{text}"))
            for index, reply in enumerate(replies)
        ]
    )


def _oasst(fields: Fields) -> Found:
    """Rank the assistant's replies to each message of the prompter; replies without a rank are left out."""
    found = list(_ranked_nodes(fields["prompt"], [], "prompt"))
    if not found:
        expected = "a message with two replies of different ranks"
        raise RowError(RowProblem.ONE_REPLY, "prompt", expected=expected, got="none")
    return Found([pair for each in found for pair in each.pairs], sum(each.num_ties for each in found))


def _ranked_nodes(node: Any, before: list[RowMessage], place: str) -> Iterator[Found]:
    if not isinstance(node, dict) or not isinstance(node.get("text"), str):
        raise RowError(RowProblem.WRONG_TYPE, place, expected="{text, role, replies}", got=repr(node)[:40])
    is_prompter = node.get("role") == _PROMPTER
    messages = [*before, RowMessage("user" if is_prompter else "assistant", node["text"], place)]
    replies = [reply for reply in node.get("replies") or () if not reply.get("deleted")]
    if is_prompter:
        answers = [(number, reply) for number, reply in enumerate(replies) if reply.get("rank") is not None]
        sides = [
            (
                -read_number(reply, "rank"),
                [*messages, RowMessage("assistant", str(reply.get("text")), f"{place}.replies[{number}]")],
            )
            for number, reply in answers
        ]
        if len(sides) > 1:
            yield ranked(sides)
    for number, reply in enumerate(replies):
        yield from _ranked_nodes(reply, messages, f"{place}.replies[{number}]")


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
        read=_two_replies(
            "question",
            *("answer_0", "answer_1"),
            lambda fields: read_number(fields, "score_0") - read_number(fields, "score_1"),
        ),
    ),
    Shape(
        format=Format.ARENA,
        columns=("conversation_a", "conversation_b", "winner"),
        wants="two conversations and a winner",
        read=_arena,
    ),
    Shape(
        format=Format.NECTAR,
        columns=("prompt", "answers"),
        wants="answers: {answer, rank}",
        read=lambda fields: _ranked_replies(fields, "prompt", "answers", "answer", "rank", -1),
        fits=lambda fields: isinstance(fields["answers"], list),
    ),
    Shape(
        format=Format.COMPLETIONS,
        columns=("instruction", "completions"),
        wants="completions: {response, overall_score}",
        read=lambda fields: _ranked_replies(fields, "instruction", "completions", "response", "overall_score", 1),
        fits=lambda fields: isinstance(fields["completions"], list),
    ),
    Shape(
        format=Format.HELPSTEER2,
        columns=("prompt", "response", "helpfulness"),
        wants="consecutive rows of one prompt",
        read=lambda fields: _ranked_replies(
            {GROUPED: [fields], **fields}, "prompt", GROUPED, "response", "helpfulness", 1
        ),
    ),
    Shape(
        format=Format.OASST,
        columns=("message_tree_id", "prompt"),
        wants="prompt: {text, role, replies}",
        read=_oasst,
        fits=lambda fields: isinstance(fields["prompt"], dict),
    ),
)
