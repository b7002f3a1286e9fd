"""Shapes of several replies with a rank or a score each: every two that differ in it are a pair."""

from collections.abc import Iterator
from typing import Any

from music.preferences.messages import required
from music.preferences.problems import RowError, RowProblem
from music.preferences.said import Said
from music.preferences.shapes.choices import read_number
from music.preferences.shapes.format import Format
from music.preferences.shapes.prompts import read_prompt
from music.preferences.shapes.shape import Fields, Found, Shape, ranked

__all__ = ["GROUPED", "SHAPES"]

GROUPED = "responses"
"""Column of a row that stands for consecutive rows of one prompt: the rows."""
_PROMPTER = "prompter"


def _items(fields: Fields, name: str) -> list[dict[str, Any]]:
    items = required(fields, name)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise RowError(RowProblem.WRONG_TYPE, name, expected="a list of objects", got=type(items).__name__)
    return items


def _replies(fields: Fields, prompt: str, items: str, text: str, worth: str, sign: int) -> Found:
    """Rank the replies of a list of objects by one of their fields."""
    asked = read_prompt(fields, prompt)
    return ranked(
        [
            (sign * read_number(item, worth), asked.followed_by(required(item, text), f"{items}[{index}].{text}"))
            for index, item in enumerate(_items(fields, items))
        ]
    )


def _nectar(fields: Fields) -> Found:
    return _replies(fields, "prompt", "answers", "answer", "rank", -1)


def _completions(fields: Fields) -> Found:
    return _replies(fields, "instruction", "completions", "response", "overall_score", 1)


def _helpsteer2(fields: Fields) -> Found:
    return _replies({GROUPED: [fields], **fields}, "prompt", GROUPED, "response", "helpfulness", 1)


def _oasst(fields: Fields) -> Found:
    """Rank the assistant's replies to each message of the prompter; replies without a rank are not compared."""
    found = list(_ranked_nodes(fields["prompt"], [], "prompt"))
    if not found:
        expected = "a message with two replies of different ranks"
        raise RowError(RowProblem.ONE_REPLY, "prompt", expected=expected, got="none")
    return Found([pair for each in found for pair in each.pairs], sum(each.num_ties for each in found))


def _ranked_nodes(node: Any, before: list[Said], place: str) -> Iterator[Found]:
    if not isinstance(node, dict) or not isinstance(node.get("text"), str):
        raise RowError(RowProblem.WRONG_TYPE, place, expected="{text, role, replies}", got=repr(node)[:40])
    is_prompter = node.get("role") == _PROMPTER
    said = [*before, Said("user" if is_prompter else "assistant", node["text"], place)]
    replies = [reply for reply in node.get("replies") or () if not reply.get("deleted")]
    if is_prompter:
        answers = [(number, reply) for number, reply in enumerate(replies) if reply.get("rank") is not None]
        sides = [
            (
                -read_number(reply, "rank"),
                [*said, Said("assistant", str(reply.get("text")), f"{place}.replies[{number}]")],
            )
            for number, reply in answers
        ]
        if len(sides) > 1:
            yield ranked(sides)
    for number, reply in enumerate(replies):
        yield from _ranked_nodes(reply, said, f"{place}.replies[{number}]")


SHAPES = (
    Shape(
        format=Format.NECTAR,
        columns=("prompt", "answers"),
        wants="answers: {answer, rank}",
        read=_nectar,
        fits=lambda fields: isinstance(fields["answers"], list),
    ),
    Shape(
        format=Format.COMPLETIONS,
        columns=("instruction", "completions"),
        wants="completions: {response, overall_score}",
        read=_completions,
        fits=lambda fields: isinstance(fields["completions"], list),
    ),
    Shape(
        format=Format.HELPSTEER2,
        columns=("prompt", "response", "helpfulness"),
        wants="consecutive rows of one prompt",
        read=_helpsteer2,
    ),
    Shape(
        format=Format.OASST,
        columns=("message_tree_id", "prompt"),
        wants="prompt: {text, role, replies}",
        read=_oasst,
        fits=lambda fields: isinstance(fields["prompt"], dict),
    ),
)
