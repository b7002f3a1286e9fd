"""`Terms`: how requests are written for one endpoint, as far as it is known what that takes.

Some fields can be done without (a seed, log-probabilities) or be written otherwise (the bound on a reply's tokens, a
JSON schema). Where a server refuses one of them, it is asked without it, and is not asked for it again once such a
request was answered. All else that the user asked for is never dropped.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from music.llm.chat import ChatRequest

__all__ = ["Terms"]

_SCHEMA_FORMS = ("response_format json_schema", "json_object with a schema", "guided_json", "free text")
"""OpenAI's, llama.cpp's, that of vLLM before it knew the first; and none."""
_SCHEMA_FIELDS = ("response_format", "guided_json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What an endpoint takes; one that nothing is known of is thought to take all.

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

    def without(self, field: str, request: ChatRequest) -> "Terms | None":
        """Return the terms after a field of a request was refused; None if it must not be done without."""
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

    def and_those(self, other: "Terms") -> "Terms":
        """Return the terms that take no more than both do."""
        return replace(
            self,
            takes_seed=self.takes_seed and other.takes_seed,
            takes_logprobs=self.takes_logprobs and other.takes_logprobs,
            schema_form=max(self.schema_form, other.schema_form),
            was_renamed=self.was_renamed or other.was_renamed,
        )

    def fields(self, model: str, request: ChatRequest) -> dict[str, object]:
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
