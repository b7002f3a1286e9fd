"""Chat requests and completions as the sandbox's server has them on the wire."""

import time
from typing import Any

import orjson

from music.conversation import Message
from music.errors import InvalidInputError
from music.llm.chat import ChatReply, ChatRequest, ReplyOutcome, Sampling, TokenLogprobs

__all__ = ["read_chat_request", "write_completion"]

_FINISH_REASONS = {ReplyOutcome.LENGTH: "length", ReplyOutcome.CONTENT_FILTER: "content_filter"}


def read_chat_request(body: bytes) -> tuple[str, ChatRequest]:
    """Read the body of a chat request into the model's name and the request.

    Raises:
        InvalidInputError: The body is not JSON, or not a chat request that the sandbox can answer.
        pydantic.ValidationError: A message has no text or another role than system, user or assistant.
    """
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInputError(f"expected a JSON body: {error}") from None
    if not isinstance(fields, dict):
        raise InvalidInputError(f"expected a JSON object, got {type(fields).__name__}")
    if fields.get("stream"):
        raise InvalidInputError("'stream': the sandbox does not stream; leave it out or set it to false")
    if fields.get("n") not in (None, 1):
        raise InvalidInputError("'n': the sandbox gives one choice for each request; leave it out or set it to 1")
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        raise InvalidInputError("'model': expected the name of a model, for example \"sandbox\"")
    max_tokens = _optional(fields, "max_completion_tokens", int)
    return model, ChatRequest(
        messages=_read_messages(fields.get("messages")),
        seed=_optional(fields, "seed", int),
        sampling=Sampling(
            temperature=_optional(fields, "temperature", (int, float)),
            max_tokens=_optional(fields, "max_tokens", int) if max_tokens is None else max_tokens,
        ),
        top_logprobs=_optional(fields, "top_logprobs", int) if fields.get("logprobs") is True else None,
    )


def write_completion(reply: ChatReply) -> dict[str, object]:
    """Return the body of the answer to a chat request."""
    finish_reason = _FINISH_REASONS.get(reply.outcome, "stop")
    message = {"role": "assistant", "content": reply.text}
    return {
        "id": "chatcmpl-sandbox",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": reply.model,
        "choices": [
            {"index": 0, "message": message, "finish_reason": finish_reason, "logprobs": _write_logprobs(reply)}
        ],
        "usage": {
            "prompt_tokens": reply.prompt_tokens,
            "completion_tokens": reply.completion_tokens,
            "total_tokens": reply.prompt_tokens + reply.completion_tokens,
        },
    }


def _write_logprobs(reply: ChatReply) -> dict[str, object] | None:
    if not reply.logprobs:
        return None
    return {"content": [_write_token(each) for each in reply.logprobs]}


def _write_token(token: TokenLogprobs) -> dict[str, object]:
    alternatives = [{"token": text, "logprob": value} for text, value in token.alternatives]
    return {"token": token.token, "logprob": dict(token.alternatives)[token.token], "top_logprobs": alternatives}


def _read_messages(value: object) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise InvalidInputError("'messages': expected a list of at least one message")
    for index, message in enumerate(value):
        if not isinstance(message, dict) or not isinstance(message.get("content"), str):
            raise InvalidInputError(f"'messages[{index}]': expected an object with a role and a text as its content")
    return tuple(Message(role=message.get("role"), content=message["content"]) for message in value)


def _optional(fields: dict[str, Any], name: str, kind: type | tuple[type, ...]) -> Any:
    """Return a number or None."""
    value = fields.get(name)
    if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
        raise InvalidInputError(f"{name!r}: expected a number, got {type(value).__name__}")
    return value
