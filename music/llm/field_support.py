"""`FieldSupport`: which fields of a request an endpoint accepts, and the body written for it.

Some fields can be left out (a seed, log-probabilities) or written differently (the limit of a reply's tokens, a JSON
schema). If a server refuses one of them, the request is sent again without it. Once that succeeds, later requests are
sent without it too. Nothing else that the user asked for is dropped.

`refused_field` finds in an error the field that a server refuses. Servers have no common form for this. Known are
pydantic's list of errors (vLLM, Mistral, llama-cpp-python), OpenAI's `param` and `code`, Gemini's `Unknown name
"seed"`, LiteLLM's `does not support parameters: ['seed']`, serde's and Go's `unknown field`, and prose such as Groq's
`property 'seed' is unsupported`. Only fields that were sent are looked for. An error about a value (a context that is
too long, a limit that is too high) does not refuse the field.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from music.llm.chat import ChatRequest

__all__ = ["FieldSupport", "refused_field"]

_SCHEMA_FORMS = ("response_format json_schema", "json_object with a schema", "guided_json", "free text")
"""The forms of OpenAI, llama.cpp and older vLLM, and none."""
_SCHEMA_FIELDS = ("response_format", "guided_json")
_NEVER = {"model", "messages"}
"""Fields that every chat request needs."""
_WORDS = {"response_format": ("response_format", "json_schema", "structured output")}
"""What servers call a field, if not only by its name."""
_MAX_CHARS = 20_000
_NEAR = 60
"""Most characters between a field's name and the words that refuse it."""
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
"""After this, pydantic repeats the input."""
_SUGGESTION = re.compile(r"expected one of|instead|supported (?:parameters|fields)|did you mean", re.IGNORECASE)
"""After this, the error names other fields than the refused one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldSupport:
    """Which fields an endpoint accepts; all of them until it refuses one.

    Attributes:
        max_tokens_field: Field that limits a reply's tokens.
        is_field_given: Whether the user named that field, so that it stays.
        takes_seed: Whether it accepts a seed.
        takes_logprobs: Whether it accepts a request for log-probabilities.
        schema_form: Index of the form of a JSON schema; the last form is none.
        was_renamed: Whether it refused `max_tokens` and accepts `max_completion_tokens` instead.
    """

    max_tokens_field: str = "max_tokens"
    is_field_given: bool = False
    takes_seed: bool = True
    takes_logprobs: bool = True
    schema_form: int = 0
    was_renamed: bool = False

    @property
    def takes_schema(self) -> bool:
        """Whether the endpoint enforces JSON schemas, as far as is known."""
        return self.schema_form < len(_SCHEMA_FORMS) - 1

    @property
    def unsupported(self) -> tuple[str, ...]:
        """What the endpoint refused, for messages."""
        found = []
        if not self.takes_seed:
            found.append("seed")
        if self.was_renamed:
            found.append("max_tokens (max_completion_tokens in its place)")
        if not self.takes_logprobs:
            found.append("logprobs")
        if self.schema_form:
            found.append(f"{_SCHEMA_FORMS[0]} ({_SCHEMA_FORMS[self.schema_form]} in its place)")
        return tuple(found)

    def without(self, field: str, request: ChatRequest) -> "FieldSupport | None":
        """Return the support without a refused field of a request; None if the field must not be left out."""
        if field in request.sampling.extra_body:
            return None
        if field == "seed":
            return replace(self, takes_seed=False)
        if field in ("logprobs", "top_logprobs"):
            return replace(self, takes_logprobs=False)
        if field in _SCHEMA_FIELDS and self.takes_schema:
            return replace(self, schema_form=self.schema_form + 1)
        if field == "max_tokens" == self.max_tokens_field and not (self.is_field_given or self.was_renamed):
            return replace(self, was_renamed=True)
        return None

    def limited_to(self, other: "FieldSupport") -> "FieldSupport":
        """Return the support for fields that both accept."""
        return replace(
            self,
            takes_seed=self.takes_seed and other.takes_seed,
            takes_logprobs=self.takes_logprobs and other.takes_logprobs,
            schema_form=max(self.schema_form, other.schema_form),
            was_renamed=self.was_renamed or other.was_renamed,
        )

    def body(self, model: str, request: ChatRequest) -> dict[str, object]:
        """Return the fields of a request's body."""
        sampling = request.sampling
        messages = [{"role": m.role, "content": m.content} for m in request.messages]
        fields: dict[str, object] = {"model": model, "messages": messages}
        if request.seed is not None and sampling.sends_seed and self.takes_seed:
            fields["seed"] = request.seed
        if sampling.temperature is not None:
            fields["temperature"] = sampling.temperature
        if sampling.top_p is not None:
            fields["top_p"] = sampling.top_p
        if sampling.stop:
            fields["stop"] = list(sampling.stop)
        if sampling.max_tokens is not None:
            fields["max_completion_tokens" if self.was_renamed else self.max_tokens_field] = sampling.max_tokens
        if request.top_logprobs is not None and self.takes_logprobs:
            fields |= {"logprobs": True, "top_logprobs": request.top_logprobs}
        if request.json_schema is not None:
            fields |= self._schema(request.json_schema)
        return {**fields, **sampling.extra_body}

    def _schema(self, schema: Mapping[str, Any]) -> dict[str, object]:
        """Return the fields that ask for a JSON schema."""
        if self.schema_form == 0:
            named = {"name": "reply", "schema": schema, "strict": True}
            return {"response_format": {"type": "json_schema", "json_schema": named}}
        if self.schema_form == 1:
            return {"response_format": {"type": "json_object", "schema": schema}}
        return {"guided_json": schema} if self.takes_schema else {}


def refused_field(answer: bytes, sent: Collection[str]) -> str | None:
    """Return the field of a request that the answer refuses; None if it refuses none of those that were sent.

    Args:
        answer: The body of an answer with an error status.
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
    """Yield the sentences of all texts in an answer, without echoed input and suggestions."""
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
    """Return the field whose name is nearest to words that refuse it."""
    refusals = [found.span() for found in _REFUSES.finditer(sentence)]
    about_a_value = _ABOUT_A_VALUE.search(sentence) is not None
    near: list[tuple[int, int, str]] = []
    for name in fields:
        words = "|".join(map(re.escape, _WORDS.get(name, (name,))))
        for found in re.finditer(rf"(?<![\w-])(?:{words})(?![\w-])", sentence):
            if name == "response_format" and "must be one of" in sentence:
                return name
            if not about_a_value:
                gaps = [max(found.start() - end, start - found.end(), 0) for start, end in refusals]
                near += [(gap, found.start(), name) for gap in gaps if gap <= _NEAR]
    return min(near)[2] if near else None
