"""Which field of a request a server refuses, read from what it says.

Servers have no common form for this. Known are pydantic's list of faults (vLLM, Mistral, llama-cpp-python), OpenAI's
`param` and `code`, Gemini's `Unknown name "seed"`, LiteLLM's `does not support parameters: ['seed']`, serde's and Go's
`unknown field`, and prose such as Groq's `property 'seed' is unsupported`. Only fields that were sent are looked for,
and complaints about a value (a context that is too long, a bound that is too high) name no refused field.
"""

import re
from collections.abc import Collection, Iterator
from typing import Any

import orjson

__all__ = ["refused_field"]

_NEVER = {"model", "messages"}
"""Fields that no chat request can do without."""
_WORDS = {"response_format": ("response_format", "json_schema", "structured output")}
"""Names under which servers speak of a field, where it is not its own alone."""
_MAX_CHARS = 20_000
_NEAR = 60
"""Characters between a field's name and what refuses it."""
_REFUSES = re.compile(
    r"unsupported|(?:not|n't|cannot) (?:yet |currently |be )?(?:support|permit|allow|recogni[sz]|accept|implement)"
    r"|not (?:yet |currently )?(?:a valid|available|enabled)|unavailable|cannot find field"
    r"|(?:unknown|unexpected|extraneous) (?:name|field|key|argument|parameter|keyword)"
    r"|unrecogni[sz]ed|extra_forbidden|extra inputs|deprecated",
    re.IGNORECASE,
)
_ABOUT_A_VALUE = re.compile(
    r"context (?:length|window|size)|too (?:large|long|big|high|many|small|low)|exceed|at (?:most|least)"
    r"|(?:greater|less|larger|smaller|higher|lower) than|must be (?!one of)|valid range|between -?\d|maximum|minimum",
    re.IGNORECASE,
)
_ECHO = re.compile(r"""['"]input['"]\s*:""")
"""After this, pydantic repeats what it was sent."""
_SUGGESTION = re.compile(r"expected one of|instead|supported (?:parameters|fields)|did you mean", re.IGNORECASE)
"""After this, other fields are named than the refused one."""


def refused_field(answer: bytes, sent: Collection[str]) -> str | None:
    """Return the field of a request that the answer to it refuses; None if it refuses none of those that were sent.

    Args:
        answer: The body of an answer with a status of an error.
        sent: Names of the fields of the request's body.
    """
    fields = [name for name in sent if name not in _NEVER]
    try:
        said: Any = orjson.loads(answer)
    except ValueError:
        said = answer[:_MAX_CHARS].decode("utf-8", "replace")
    for fault in _faults(said):
        if (found := _in_pydantic(fault, fields) or _in_openai(fault, fields)) is not None:
            return found
    found = None
    for sentence in _sentences(said):
        found = found or _in_text(sentence, fields)
    return found


def _faults(said: Any) -> Iterator[dict[str, Any]]:
    """Yield the objects in an answer, the outermost first."""
    if isinstance(said, dict):
        yield said
    children = said.values() if isinstance(said, dict) else said if isinstance(said, list) else ()
    for child in children:
        yield from _faults(child)


def _in_pydantic(fault: dict[str, Any], fields: Collection[str]) -> str | None:
    """Read `{"type": "extra_forbidden", "loc": ["body", "seed"], ...}`."""
    place = fault.get("loc")
    if not isinstance(place, list):
        return None
    name = next((part for part in place if part in fields), None)
    is_extra = "extra" in str(fault.get("type"))
    return name if is_extra or name == "response_format" else None


def _in_openai(fault: dict[str, Any], fields: Collection[str]) -> str | None:
    """Read `{"param": "max_tokens", "code": "unsupported_parameter", "message": ...}`."""
    name = str(fault.get("param")).partition(".")[0]
    if name not in fields:
        return None
    said = f"{fault.get('code')} {fault.get('message')}"
    refuses = _REFUSES.search(said.replace("_", " ")) and not _ABOUT_A_VALUE.search(said)
    return name if refuses or name == "response_format" else None


def _sentences(said: Any) -> Iterator[str]:
    """Yield the sentences of all texts in an answer, without what they echo and suggest."""
    if isinstance(said, str):
        text = _ECHO.split(said[:_MAX_CHARS])[0]
        for sentence in re.split(r"\n|(?<=[.!])\s", text):
            yield _SUGGESTION.split(sentence)[0]
    elif isinstance(said, dict):
        for key, value in said.items():
            if key not in ("input", "ctx", "url"):
                yield from _sentences(value)
    elif isinstance(said, list):
        for value in said:
            yield from _sentences(value)


def _in_text(sentence: str, fields: Collection[str]) -> str | None:
    """Return the field whose name stands nearest to words that refuse it."""
    refusals = [found.span() for found in _REFUSES.finditer(sentence)]
    about_a_value = _ABOUT_A_VALUE.search(sentence) is not None
    near: list[tuple[int, int, str]] = []
    for name in fields:
        for found in _pattern(name).finditer(sentence):
            if name == "response_format" and "must be one of" in sentence:
                return name
            if not about_a_value:
                gaps = [max(found.start() - end, start - found.end(), 0) for start, end in refusals]
                near += [(gap, found.start(), name) for gap in gaps if gap <= _NEAR]
    return min(near)[2] if near else None


def _pattern(name: str) -> re.Pattern[str]:
    """Return what finds a field's name as a word of its own."""
    words = "|".join(map(re.escape, _WORDS.get(name, (name,))))
    return re.compile(rf"(?<![\w-])(?:{words})(?![\w-])")
