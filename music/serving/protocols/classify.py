"""`POST /classify`, a path of both vLLM and SGLang. The fields of a request tell which of the two it is for.

vLLM's clients send `input` or `messages`, and SGLang's send `text` or `input_ids`. Errors have one shape, which both
read.

verl's discriminative reward models use this path, or `/v1/embeddings`. Before verl renders a conversation, it writes
everything after the prompt as one assistant message. If a user answers within a rollout, the server gets one long reply
that contains the user's words, and cannot tell it from a real one. Score such rollouts with messages instead, through
`/v1/score`.
"""

from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from music.serving.pending import Answer
from music.serving.protocols.base import ProtocolModel, Query, RefusedError, ScoringProtocol, require_scores
from music.serving.protocols.openai import refusal
from music.serving.protocols.rendered import TokenId, as_list, encode_rendered, one_kind, refuse_fields
from music.serving.protocols.vllm import VllmRequest, VllmResponse, envelope, vllm_query

__all__ = ["ClassifyProtocol"]

_SCORES_ALONE = "only raw scores of text are given"
_REFUSED = dict.fromkeys(
    ("input_embeds", "image_data", "video_data", "audio_data", "dimensions", "lora_path", "token_indices_to_pool"),
    _SCORES_ALONE,
)


class ClassifyRequest(VllmRequest):
    """Conversations: `input` or `messages` as vLLM's clients send them, or `text` or `input_ids` as SGLang's do."""

    conversation_fields: ClassVar[tuple[str, ...]] = ("input", "messages", "text", "input_ids")

    text: Annotated[
        str | Annotated[list[str], Field(min_length=1)] | None, one_kind("text, or a list of texts that is not empty")
    ] = None
    """Conversations in the model's own chat template."""
    input_ids: Annotated[
        Annotated[list[TokenId], Field(min_length=1)] | Annotated[list[list[TokenId]], Field(min_length=1)] | None,
        one_kind("token ids, or a list of lists of token ids, that is not empty"),
    ] = None
    """Conversations in the model's own chat template, as token ids."""

    @model_validator(mode="before")
    @classmethod
    def _text_alone(cls, data: Any) -> Any:
        return refuse_fields(data, _REFUSED)

    @property
    def of_sglang(self) -> str | list[str] | list[int] | list[list[int]] | None:
        """The conversations, if the request is SGLang's."""
        return self.text if self.text is not None else self.input_ids


class ClassifyItem(ProtocolModel):
    """The score of one conversation."""

    index: int
    """Its place in the request."""
    label: Literal["LABEL_0"] = "LABEL_0"
    """The name of the only class."""
    probs: list[float]
    """The raw score, alone. vLLM's name for it is misleading: it is no probability."""
    num_classes: Literal[1] = 1
    """The number of classes."""


class ClassifyResponse(VllmResponse):
    """The answer to a request of vLLM's form."""

    data: list[ClassifyItem]
    """One score for each conversation."""


class MetaInfo(ProtocolModel):
    """What else is known of a conversation."""

    prompt_tokens: int
    """Number of tokens that the score depends on."""
    num_dropped_turns: int
    """Number of oldest exchanges that were dropped because the conversation was too long."""


class SglangItem(ProtocolModel):
    """The answer to one conversation of a request of SGLang's form."""

    embedding: list[float]
    """The raw score, alone."""
    meta_info: MetaInfo


class ClassifyProtocol(ScoringProtocol):
    """vLLM's and SGLang's classification."""

    path = "/classify"
    summary = "vLLM's and SGLang's classification: score rendered conversations, or one of messages."
    request = ClassifyRequest
    response = ClassifyResponse | list[SglangItem] | SglangItem

    def query(self, body: ClassifyRequest) -> Query:
        """Return what a request asks for."""
        if body.of_sglang is None:
            return vllm_query(body)
        rendered = as_list(body.of_sglang)
        return Query(len(rendered), partial(encode_rendered, rendered=rendered), body)

    def write(self, query: Query, answer: Answer) -> Any:
        """Return the scores, in the form of the request."""
        scores = require_scores(answer)
        if (asked := query.body.of_sglang) is not None:
            items = [_sglang_item(score, answer, index) for index, score in enumerate(scores)]
            is_one = isinstance(asked, str) or isinstance(asked[0], int)
            return items[0] if is_one else items
        data = [
            {"index": index, "label": "LABEL_0", "probs": [score], "num_classes": 1}
            for index, score in enumerate(scores)
        ]
        return envelope("classify", answer) | {"data": data}

    def refuse(self, error: RefusedError) -> dict[str, Any]:
        """Return an error."""
        return refusal(error)


def _sglang_item(score: float, answer: Answer, index: int) -> dict[str, Any]:
    result = answer.results[index]
    meta = {"prompt_tokens": result.num_tokens, "num_dropped_turns": result.num_dropped_turns}
    return {"embedding": [score], "meta_info": meta}
