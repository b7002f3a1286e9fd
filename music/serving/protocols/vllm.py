"""vLLM's `POST /pooling`, and the request that it shares with `POST /classify`.

Both take one conversation as `messages`, or any number of rendered ones as `input`. The score is the raw logit whatever
`use_activation` is. vLLM does the same with checkpoints of this project: the flag asks for the activation that the
checkpoint names, and it names none. So that no client takes a raw score for a probability, or a raw score between 0 and
1 for a sign that the flag was ignored, every answer says `"activation": "none"`.
"""

import time
import uuid
from functools import partial
from typing import Any, ClassVar, Literal, Self

from pydantic import model_validator

from music.conversation import Conversation
from music.preferences.messages import parse_messages
from music.preferences.problems import RowError
from music.serving.items import INVALID, ItemError
from music.serving.pending import Answer
from music.serving.protocols.base import (
    ProtocolModel,
    Query,
    RefusedError,
    ScoringProtocol,
    encode_conversations,
    parse_conversation,
    require_scores,
)
from music.serving.protocols.openai import Usage, refusal, usage
from music.serving.protocols.rendered import RenderedInput, as_list, encode_rendered, refuse_fields

__all__ = ["PoolingProtocol", "VllmRequest", "VllmResponse", "envelope", "vllm_query"]

_PROMPT = "the reward is read where the last reply ends"
_TEMPLATE = "scores need the chat template of the model's training"
_LENGTH = "long conversations lose their oldest exchanges instead, as the score contract says"
_TEXT = "only text is scored"
_REFUSED = {
    "add_generation_prompt": _PROMPT,
    "continue_final_message": _PROMPT,
    "chat_template": _TEMPLATE,
    "chat_template_kwargs": _TEMPLATE,
    "truncate_prompt_tokens": _LENGTH,
    "mm_processor_kwargs": _TEXT,
    "media_io_kwargs": _TEXT,
}


class VllmRequest(ProtocolModel):
    """Conversations: `input`, or `messages`."""

    conversation_fields: ClassVar[tuple[str, ...]] = ("input", "messages")

    model: str | None = None
    """Ignored: the server has one model."""
    input: RenderedInput | None = None
    """Conversations in the model's own chat template, as text or token ids. BOS may be there or not."""
    messages: list[dict[str, Any]] | None = None
    """One conversation: messages with `role` and `content`, in the form of OpenAI's API."""
    use_activation: bool | None = None
    """Ignored: the model has no activation, so the score is raw in any case."""

    @model_validator(mode="before")
    @classmethod
    def _scores_alone(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("truncate_prompt_tokens") == -1:  # vLLM's word for the model's maximum
            return data
        return refuse_fields(data, _REFUSED)

    @model_validator(mode="after")
    def _one_field(self) -> Self:
        given = [name for name in self.conversation_fields if getattr(self, name) is not None]
        if len(given) != 1:
            expected = f"{', '.join(self.conversation_fields[:-1])} or {self.conversation_fields[-1]}"
            raise ValueError(f"expected either {expected}, got {' and '.join(given) or 'none of them'}")
        return self


class VllmResponse(ProtocolModel):
    """The scores in the order of the request."""

    id: str
    """A random name of the request."""
    object: Literal["list"] = "list"
    created: int
    """Seconds since 1970."""
    model: str
    """The model's name."""
    activation: Literal["none"] = "none"
    """Scores are raw logits, whatever `use_activation` was."""
    usage: Usage


class PoolingRequest(VllmRequest):
    """Conversations: `input`, or `messages`."""

    task: Literal["classify"] | None = None
    """The score of the whole conversation is the only task. `/v1/score` gives rewards after each turn."""
    encoding_format: Literal["float"] = "float"
    """How scores are written."""


class PoolingItem(ProtocolModel):
    """The score of one conversation."""

    index: int
    """Its place in the request."""
    object: Literal["pooling"] = "pooling"
    data: list[float]
    """The raw score, alone."""


class PoolingResponse(VllmResponse):
    """The scores in the order of the request."""

    data: list[PoolingItem]
    """One score for each conversation."""


class PoolingProtocol(ScoringProtocol):
    """vLLM's pooling."""

    path = "/pooling"
    summary = "vLLM's pooling: score rendered conversations, or one of messages."
    request = PoolingRequest
    response = PoolingResponse

    def query(self, body: PoolingRequest) -> Query:
        """Return what a request asks for."""
        return vllm_query(body)

    def write(self, query: Query, answer: Answer) -> dict[str, Any]:
        """Return the scores."""
        scores = enumerate(require_scores(answer))
        data = [{"index": index, "object": "pooling", "data": [score]} for index, score in scores]
        return envelope("pooling", answer) | {"data": data}

    def refuse(self, error: RefusedError) -> dict[str, Any]:
        """Return an error."""
        return refusal(error)


def vllm_query(body: VllmRequest) -> Query:
    """Return what a request asks for."""
    if body.messages is not None:
        return Query(1, partial(encode_conversations, conversations=[_read_chat(body.messages)]), body)
    rendered = as_list(body.input or "")
    return Query(len(rendered), partial(encode_rendered, rendered=rendered), body)


def envelope(prefix: str, answer: Answer) -> dict[str, Any]:
    """Return the fields of a `VllmResponse`."""
    return {
        "id": f"{prefix}-{uuid.uuid4().hex}",
        "object": "list",
        "created": int(time.time()),
        "model": answer.served.name,
        "activation": "none",
        "usage": usage(answer),
    }


def _read_chat(messages: list[dict[str, Any]]) -> Conversation | ItemError:
    """Return messages in OpenAI's form as a conversation, or why they are none."""
    try:
        rows = [row._asdict() for row in parse_messages(messages, "messages")]
    except RowError as error:
        return ItemError(INVALID, str(error))
    return parse_conversation([{name: value for name, value in row.items() if name != "place"} for row in rows])
