"""Conversations that a client has rendered itself: text, or token ids, in the reward model's own chat template."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from music.reward.encoded import EncodedConversation
from music.serving.items import INVALID, ItemError
from music.serving.served_model import ServedModel

__all__ = ["Rendered", "RenderedInput", "TokenId", "as_list", "encode_rendered", "one_kind", "refuse_fields"]

Rendered = str | list[int]
"""A conversation as text, with BOS or without, or as token ids."""
TokenId = Annotated[int, Field(strict=True, ge=0)]


def one_kind(expected: str) -> WrapValidator:
    """Return a validator that gives a field of several kinds one error, instead of one for each kind."""

    def validate(value: Any, validate_kinds: ValidatorFunctionWrapHandler) -> Any:
        try:
            return validate_kinds(value)
        except ValidationError:
            raise ValueError(f"expected {expected}") from None

    return WrapValidator(validate)


RenderedInput = Annotated[
    str
    | Annotated[list[str], Field(min_length=1)]
    | Annotated[list[TokenId], Field(min_length=1)]
    | Annotated[list[list[TokenId]], Field(min_length=1)],
    one_kind("text, token ids, or a list of either that is not empty"),
]
"""One conversation, or several of one kind."""


def as_list(given: str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]]) -> list[Rendered]:
    """Return the conversations of a `RenderedInput`."""
    if isinstance(given, str):
        return [given]
    if isinstance(given[0], int):
        return [[one for one in given if isinstance(one, int)]]
    return [each if isinstance(each, str) else list(each) for each in given if not isinstance(each, int)]


def encode_rendered(served: ServedModel, rendered: Sequence[Rendered]) -> list[EncodedConversation | ItemError]:
    """Encode rendered conversations for a model.

    Raises:
        InvalidInputError: Text in the model's chat template cannot be split into messages.
    """
    limit = len(served.model.tokens.tokenizer)
    known = [isinstance(each, str) or all(one < limit for one in each) for each in rendered]
    encoded = iter(served.texts.encode([each for each, is_known in zip(rendered, known, strict=True) if is_known]))
    unknown = ItemError(INVALID, f"expected ids of the model's tokenizer, all below {limit}")
    return [EncodedConversation.of(next(encoded)) if is_known else unknown for is_known in known]


def refuse_fields(data: Any, reasons: Mapping[str, str]) -> Any:
    """Return a request unchanged if it has none of the fields that would change scores.

    Raises:
        ValueError: It has one.
    """
    for name, reason in reasons.items():
        if isinstance(data, dict) and data.get(name):
            raise ValueError(f"expected no {name}: {reason}")
    return data
