"""Log-probabilities of a reply's tokens: read from a server, which is not trusted, and from and to the journal."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from itertools import accumulate
from typing import Annotated

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from music.llm.chat import TokenLogprobs

__all__ = ["dump_logprobs", "keep_said", "load_logprobs", "read_logprobs"]

_ROUNDING = 1e-3
"""By how much a log-probability may exceed 0."""


class _Alternative(BaseModel):
    """A token that the model considered at one place."""

    model_config = ConfigDict(frozen=True, strict=True)

    token: str
    logprob: Annotated[float, Field(le=_ROUNDING, allow_inf_nan=False)]


class _Entry(BaseModel):
    """The fields of one token that are read."""

    model_config = ConfigDict(frozen=True, strict=True)

    token: str
    top_logprobs: list[_Alternative]


_CONTENT = TypeAdapter(list[_Entry])


def read_logprobs(choice: object, clean: Callable[[str], str]) -> tuple[TokenLogprobs, ...]:
    """Read `logprobs.content` of a choice, in OpenAI's format.

    Args:
        choice: The choice.
        clean: Makes a text harmless.

    Returns:
        One entry for each token. None at all if an entry is invalid, or if the tokens together spell the API key, which
        `clean` does not see in a single token.
    """
    fields = choice.get("logprobs") if isinstance(choice, dict) else None
    content = fields.get("content") if isinstance(fields, dict) else None
    if not isinstance(content, list):
        return ()
    try:
        entries = _CONTENT.validate_python(content)
    except ValidationError:
        return ()
    tokens = tuple(
        TokenLogprobs(clean(entry.token), tuple((clean(other.token), other.logprob) for other in entry.top_logprobs))
        for entry in entries
    )
    text = "".join(each.token for each in tokens)
    return tokens if clean(text) == text else ()


def keep_said(logprobs: tuple[TokenLogprobs, ...], said: str) -> tuple[TokenLogprobs, ...]:
    """Return the log-probabilities of the tokens that spell the answer.

    Args:
        logprobs: Of all tokens, including those of thinking and of marks.
        said: The answer: the part of the text that was kept.

    Returns:
        The entries of its tokens; none at all if the tokens do not spell it.
    """
    begin = "".join(each.token for each in logprobs).rfind(said) if said else -1
    if begin < 0:
        return ()
    ends = list(accumulate(len(each.token) for each in logprobs))
    return logprobs[bisect_right(ends, begin) : bisect_left(ends, begin + len(said)) + 1]


def dump_logprobs(logprobs: tuple[TokenLogprobs, ...]) -> str:
    """Return log-probabilities as JSON; an empty string for none."""
    return orjson.dumps([(each.token, each.alternatives) for each in logprobs]).decode() if logprobs else ""


def load_logprobs(text: str) -> tuple[TokenLogprobs, ...]:
    """Read what `dump_logprobs` wrote."""
    rows = orjson.loads(text) if text else ()
    return tuple(TokenLogprobs(token, tuple((other, logprob) for other, logprob in rest)) for token, rest in rows)
