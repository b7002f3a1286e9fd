"""Shapes with a chosen and a rejected side; they differ in how the prompt is given."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from music.preferences.messages import (
    decoded,
    is_transcript,
    parse_messages,
    parse_transcript,
    read_text,
    required,
)
from music.preferences.problems import RowError
from music.preferences.shapes.prompts import Prompt, read_instruction, read_prompt, with_system
from music.preferences.shapes.shape import Fields, Format, Found, Shape, Sides

__all__ = ["SHAPES"]

_SIDES = ("chosen", "rejected")
_TRANSCRIPT_START = re.compile(r"\s*(Human|Assistant):")
_TEXT_PROMPTS = ("prompt", "question", "query", "input")


def _joined(fields: Fields, prompt: Prompt) -> Found:
    chosen, rejected = (with_system(fields, prompt.followed_by(required(fields, side), side)) for side in _SIDES)
    return Found([Sides(chosen, rejected)])


def _whole(*columns: str) -> Callable[[Fields], Found]:
    """Return a reader of two columns that each hold a whole conversation."""

    def read(fields: Fields) -> Found:
        chosen, rejected = (with_system(fields, parse_messages(required(fields, name), name)) for name in columns)
        return Found([Sides(chosen, rejected)])

    return read


def _hh(fields: Fields) -> Found:
    if fields.get("prompt") is not None:
        return _joined(fields, read_prompt(fields, "prompt"))
    chosen, rejected = (parse_transcript(read_text(fields, side), side) for side in _SIDES)
    return Found([Sides(chosen, rejected)])


def _after_text(fields: Fields) -> Found:
    column = next((name for name in _TEXT_PROMPTS if fields.get(name) is not None), "prompt")
    if isinstance(fields.get(column), str):
        read_text(fields, column)
    return _joined(fields, read_prompt(fields, column))


def _ms_swift(fields: Fields) -> Found:
    """Read a chosen conversation, and one or several rejected last replies."""
    chosen = with_system(fields, parse_messages(required(fields, "messages"), "messages"))
    others = decoded(required(fields, "rejected_response"), "rejected_response")
    if isinstance(others, list) and not all(isinstance(other, str) for other in others):
        others = [others]
    prompt = Prompt(chosen[:-1])
    names = others if isinstance(others, list) else [others]
    return Found([Sides(chosen, prompt.followed_by(other, "rejected_response")) for other in names])


def _after(column: str) -> Callable[[Fields], Found]:
    """Return a reader of sides that follow the messages of a column."""
    return lambda fields: _joined(fields, read_prompt(fields, column))


def _are_whole(fields: Fields) -> bool:
    """Whether the sides are lists, or JSON text of lists, that do not begin with the reply."""
    chosen, rejected = (_decoded_or_none(fields[side]) for side in _SIDES)
    return isinstance(chosen, list) and isinstance(rejected, list) and not _begins_with_reply(chosen)


def _begins_with_reply(messages: list[Any]) -> bool:
    try:
        return bool(messages) and parse_messages(messages[:1], "")[0].role == "assistant"
    except RowError:
        return False


def _decoded_or_none(value: Any) -> Any:
    try:
        return decoded(value, "")
    except RowError:
        return []  # it begins like messages, so their reader reports the fault


def _are_transcripts(fields: Fields) -> bool:
    return all(isinstance(fields[side], str) and _TRANSCRIPT_START.match(fields[side]) for side in _SIDES)


def _is_plain(prompt: Any) -> bool:
    """Whether a prompt is text, and neither a transcript nor messages as JSON text."""
    return isinstance(prompt, str) and not is_transcript(prompt) and isinstance(_decoded_or_none(prompt), str)


def _is_text(column: str, fields: Fields) -> bool:
    return isinstance(fields[column], str)


def _lone_sides(fields: Fields) -> bool:
    return fields.get("prompt") is None


SHAPES = (
    Shape(
        format=Format.SKYWORK,
        columns=("chosen", "rejected"),
        wants="chosen, rejected: lists of messages, with no prompt",
        read=_whole("chosen", "rejected"),
        fits=lambda fields: _lone_sides(fields) and _are_whole(fields),
    ),
    Shape(
        format=Format.HH,
        columns=("chosen", "rejected"),
        wants="chosen, rejected: transcripts, 'Human: ... Assistant: ...'",
        read=_hh,
        fits=lambda fields: _lone_sides(fields) and _are_transcripts(fields),
    ),
    Shape(
        format=Format.ULTRAFEEDBACK,
        columns=("prompt", "chosen", "rejected"),
        wants="prompt: text",
        read=_after_text,
        fits=lambda fields: _is_plain(fields["prompt"]),
    ),
    Shape(
        format=Format.TRL,
        columns=("prompt", "chosen", "rejected"),
        wants="prompt: a list of messages",
        read=_after("prompt"),
        fits=lambda fields: isinstance(_decoded_or_none(fields["prompt"]), list | dict),
    ),
    Shape(
        format=Format.HH,
        columns=("prompt", "chosen", "rejected"),
        wants="prompt: a transcript, 'Human: ... Assistant:'",
        read=_hh,
        fits=lambda fields: isinstance(fields["prompt"], str),
    ),
    Shape(
        format=Format.ALPACA,
        columns=("instruction", "chosen", "rejected"),
        wants="instruction: text",
        read=lambda fields: _joined(fields, read_instruction(fields)),
    ),
    Shape(
        format=Format.SHAREGPT,
        columns=("conversations", "chosen", "rejected"),
        wants="conversations: messages",
        read=_after("conversations"),
    ),
    Shape(
        format=Format.AXOLOTL,
        columns=("messages", "chosen", "rejected"),
        wants="messages: messages; no prompt",
        read=_after("messages"),
        fits=_lone_sides,
    ),
    *(
        Shape(
            format=Format.ULTRAFEEDBACK,
            columns=(column, "chosen", "rejected"),
            wants=f"{column}: text",
            read=_after_text,
            fits=partial(_is_text, column),
        )
        for column in _TEXT_PROMPTS[1:]
    ),
    Shape(
        format=Format.MS_SWIFT,
        columns=("messages", "rejected_response"),
        wants="rejected_response: text",
        read=_ms_swift,
    ),
    Shape(
        format=Format.MS_SWIFT_MESSAGES,
        columns=("messages", "rejected_messages"),
        wants="rejected_messages: messages",
        read=_whole("messages", "rejected_messages"),
    ),
)
"""In the order in which they are tried."""
