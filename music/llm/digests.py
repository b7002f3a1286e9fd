"""The identity of a request by what it asks of whom, wherever that is served."""

import hashlib

import orjson

from music.llm.chat import ChatRequest
from music.llm.spending.budget import models_of

__all__ = ["digest_request"]


def digest_request(endpoint: str, request: ChatRequest, account: str = "") -> str:
    """Return a digest of model, messages, seed and options; the address of the endpoint is not among them.

    Args:
        endpoint: Name of the model, as `ChatModel.name`.
        request: What is asked.
        account: Whose requests are kept apart from those of others.
    """
    messages = [(message.role, message.content) for message in request.messages]
    settings = (request.seed, request.sampling, request.json_schema, request.top_logprobs)
    asked = orjson.dumps((account, models_of(endpoint), messages, *settings), option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(asked, digest_size=16).hexdigest()
