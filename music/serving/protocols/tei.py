"""`POST /predict` of Text Embeddings Inference. Without `raw_scores` it asks for a sigmoid, and is refused."""

from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from music.serving.pending import Answer
from music.serving.protocols.base import ProtocolModel, Query, RefusedError, ScoringProtocol, require_scores
from music.serving.protocols.rendered import encode_rendered, one_kind

__all__ = ["PredictProtocol"]

_ONE = Annotated[list[str], Field(min_length=1, max_length=1)]
_ERROR_TYPES = {429: "Overloaded", 500: "Backend", 503: "Backend"}


class PredictRequest(ProtocolModel):
    """Rendered conversations."""

    inputs: Annotated[
        str | _ONE | Annotated[list[_ONE], Field(min_length=1)],
        one_kind("text, or a list of lists of one text; a list of two texts is a pair, which has no score"),
    ]
    """Conversations in the model's own chat template: text, or a list of lists of one text."""
    raw_scores: Literal[True]
    """Whether to return raw logits; it must be true."""

    @model_validator(mode="before")
    @classmethod
    def _raw_alone(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("raw_scores") is not True:
            raise ValueError(
                "expected raw_scores to be true: without it the request asks for a sigmoid or a softmax, which hides "
                "differences between good conversations"
            )
        return data


class Prediction(ProtocolModel):
    """The score of one conversation."""

    score: float
    """The raw score."""
    label: Literal["LABEL_0"] = "LABEL_0"
    """The name of the only class."""


class PredictProtocol(ScoringProtocol):
    """Predictions of Text Embeddings Inference."""

    path = "/predict"
    summary = "Text Embeddings Inference: score rendered conversations."
    request = PredictRequest
    response = list[Prediction] | list[list[Prediction]]

    def query(self, body: PredictRequest) -> Query:
        """Return what a request asks for."""
        rendered = [each if isinstance(each, str) else each[0] for each in _as_list(body)]
        return Query(len(rendered), partial(encode_rendered, rendered=rendered), body)

    def write(self, query: Query, answer: Answer) -> Any:
        """Return the predictions: a list of one for a text, and a list of such lists for several."""
        predictions = [[{"score": score, "label": "LABEL_0"}] for score in require_scores(answer)]
        return predictions if _is_batch(query.body) else predictions[0]

    def refuse(self, error: RefusedError) -> dict[str, Any]:
        """Return an error."""
        return {"error": error.message, "error_type": _ERROR_TYPES.get(error.status, "Validation")}


def _is_batch(body: PredictRequest) -> bool:
    return not isinstance(body.inputs, str) and not isinstance(body.inputs[0], str)


def _as_list(body: PredictRequest) -> list[Any]:
    return list(body.inputs) if _is_batch(body) else [body.inputs]
