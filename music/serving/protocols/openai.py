"""What the protocols of vLLM, SGLang and OpenAI have in common: their errors, and the usage of an answer."""

from http import HTTPStatus
from typing import Any

from music.serving.pending import Answer
from music.serving.protocols.base import ProtocolModel, RefusedError

__all__ = ["Usage", "refusal", "usage"]

_TYPES = {400: "BadRequestError", 404: "NotFoundError", 500: "InternalServerError", 503: "ServiceUnavailableError"}


class Usage(ProtocolModel):
    """Sums over a request."""

    prompt_tokens: int
    """Number of tokens that the scores depend on."""
    total_tokens: int
    """The same number, as nothing is generated."""


def usage(answer: Answer) -> dict[str, int]:
    """Return the usage of an answer."""
    num = sum(result.num_tokens for result in answer.results)
    return {"prompt_tokens": num, "total_tokens": num}


def refusal(error: RefusedError) -> dict[str, Any]:
    """Return an error as vLLM shapes it; clients of SGLang and OpenAI read the same `error.message`."""
    kind = _TYPES.get(error.status) or HTTPStatus(error.status).phrase
    return {"error": {"message": error.message, "type": kind, "param": None, "code": error.status}}
