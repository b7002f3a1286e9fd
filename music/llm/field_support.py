"""`FieldSupport`: which fields of a request an endpoint takes, and how a body is written for it.

Some fields can be left out (a seed, log-probabilities) or written otherwise (the bound on a reply's tokens, a JSON
schema). When a server refuses one of them, it is asked without it, and no longer asked for it once such a request was
answered. Nothing else that the user asked for is dropped.

`refused_field` reads from an error which field a server refuses. Servers have no common form for this. Known are
pydantic's list of faults (vLLM, Mistral, llama-cpp-python), OpenAI's `param` and `code`, Gemini's `Unknown name
"seed"`, LiteLLM's `does not support parameters: ['seed']`, serde's and Go's `unknown field`, and prose such as Groq's
`property 'seed' is unsupported`. Only fields that were sent are looked for. Complaints about a value (a context that is
too long, a bound that is too high) refuse no field.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from music.llm.chat import ChatRequest

__all__ = ["FieldSupport", "refused_field"]

_SCHEMA_FORMS = ("response_format json_schema", "json_object with a schema", "guided_json", "free text")
"""OpenAI's, llama.cpp's, that of vLLM before it knew the first; and none."""
_SCHEMA_FIELDS = ("response_format", "guided_json")
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


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldSupport:
    """Which fields an endpoint takes; all of them as long as nothing else is known.

    Attributes:
        max_tokens_field: Field that bounds a reply's tokens.
        is_field_given: The user named that field, so it stays.
        takes_seed: A seed.
        takes_logprobs: Log-probabilities may be asked for.
        schema_form: Place in the list of forms of a JSON schema, the last of which is none.
        was_renamed: The endpoint refused `max_tokens`, and takes `max_completion_tokens` in its place.
    """

    max_tokens_field: str = "max_tokens"
    is_field_given: bool = False
    takes_seed: bool = True
    takes_logprobs: bool = True
    schema_form: int = 0
    was_renamed: bool = False

    @property
    def takes_schema(self) -> bool:
        """Whether replies can be held to a JSON schema, as far as is known."""
        return self.schema_form < len(_SCHEMA_FORMS) - 1

    @property
    def unsupported(self) -> tuple[str, ...]:
        """What the endpoint refused, for people."""
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
        """Return what is left after a field of a request was refused; None if it must not be left out."""
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
        """Return what both take."""
        return replace(
            self,
            takes_seed=self.takes_seed and other.takes_seed,
            takes_logprobs=self.takes_logprobs and other.takes_logprobs,
            schema_form=max(self.schema_form, other.schema_form),
            was_renamed=self.was_renamed or other.was_renamed,
        )

    def body(self, model: str, request: ChatRequest) -> dict[str, object]:
        """Return the body of a request to a model."""
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
        """Return the fields that hold a reply to a schema."""
        if self.schema_form == 0:
            named = {"name": "reply", "schema": schema, "strict": True}
            return {"response_format": {"type": "json_schema", "json_schema": named}}
        if self.schema_form == 1:
            return {"response_format": {"type": "json_object", "schema": schema}}
        return {"guided_json": schema} if self.takes_schema else {}


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
        words = "|".join(map(re.escape, _WORDS.get(name, (name,))))
        for found in re.finditer(rf"(?<![\w-])(?:{words})(?![\w-])", sentence):
            if name == "response_format" and "must be one of" in sentence:
                return name
            if not about_a_value:
                gaps = [max(found.start() - end, start - found.end(), 0) for start, end in refusals]
                near += [(gap, found.start(), name) for gap in gaps if gap <= _NEAR]
    return min(near)[2] if near else None
