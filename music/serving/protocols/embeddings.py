"""`POST /v1/embeddings`, the path of OpenAI's API on which SGLang serves reward models: the score is the embedding.

verl asks so with SGLang; `music.serving.protocols.classify` says what verl does with rollouts of several turns.
"""

import base64
import struct
from functools import partial
from typing import Any, Literal

from pydantic import model_validator

from music.serving.pending import Answer
from music.serving.protocols.base import ProtocolModel, Query, RefusedError, ScoringProtocol, require_scores
from music.serving.protocols.openai import Usage, refusal, usage
from music.serving.protocols.rendered import RenderedInput, as_list, encode_rendered, refuse_fields

__all__ = ["EmbeddingsProtocol"]

_ONE_NUMBER = "the embedding is the score, one number"
_REFUSED = dict.fromkeys(("dimensions", "embed_overrides", "lora_path"), _ONE_NUMBER)


class EmbeddingsRequest(ProtocolModel):
    """Rendered conversations."""

    input: RenderedInput
    """Conversations in the model's own chat template, as text or token ids. BOS may be there or not."""
    model: str | None = None
    """Ignored: the server has one model."""
    encoding_format: Literal["float", "base64"] = "float"
    """How scores are written: as lists of one number, or in base64 as fp32, which OpenAI's client asks for."""

    @model_validator(mode="before")
    @classmethod
    def _scores_alone(cls, data: Any) -> Any:
        return refuse_fields(data, _REFUSED)


class EmbeddingsItem(ProtocolModel):
    """The score of one conversation."""

    object: Literal["embedding"] = "embedding"
    index: int
    """Its place in the request."""
    embedding: list[float] | str
    """The raw score, alone."""


class EmbeddingsResponse(ProtocolModel):
    """The scores in the order of the request."""

    object: Literal["list"] = "list"
    model: str
    """The model's name."""
    data: list[EmbeddingsItem]
    """One score for each conversation."""
    usage: Usage


class EmbeddingsProtocol(ScoringProtocol):
    """Scores as embeddings."""

    path = "/v1/embeddings"
    summary = "SGLang's embeddings, as verl asks for scores: score rendered conversations."
    request = EmbeddingsRequest
    response = EmbeddingsResponse

    def query(self, body: EmbeddingsRequest) -> Query:
        """Return what a request asks for."""
        rendered = as_list(body.input)
        return Query(len(rendered), partial(encode_rendered, rendered=rendered), body)

    def write(self, query: Query, answer: Answer) -> dict[str, Any]:
        """Return the scores."""
        is_text = query.body.encoding_format == "base64"
        data = [
            {"object": "embedding", "index": index, "embedding": _base64(score) if is_text else [score]}
            for index, score in enumerate(require_scores(answer))
        ]
        return {"object": "list", "model": answer.served.name, "data": data, "usage": usage(answer)}

    def refuse(self, error: RefusedError) -> dict[str, Any]:
        """Return an error."""
        return refusal(error)


def _base64(score: float) -> str:
    return base64.b64encode(struct.pack("<f", score)).decode()
