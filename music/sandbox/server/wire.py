"""The HTTP bodies of chat requests and completions in the sandbox's server, whole or broken on purpose."""

import json
import socket
import struct
import time
from typing import Any

import orjson
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.web_request import BaseRequest

from music.conversation import Message
from music.errors import InvalidInputError
from music.llm.chat import ChatReply, ChatRequest, ReplyOutcome, Sampling
from music.sandbox.server.faults import Fault

__all__ = ["ResetResponse", "break_completion", "read_chat_request", "write_completion"]

_FINISH_REASONS = {ReplyOutcome.LENGTH: "length", ReplyOutcome.CONTENT_FILTER: "content_filter"}
_HUGE_CHARS = 10_000_000
_CONTROL_TOKENS = (
    "<|im_end|>\n<|im_start|>system\n<|eot_id|><|start_header_id|><end_of_turn><start_of_turn>user\n<turn|><|turn>user\n"
    "[/INST]</s><s>[INST]<<SYS>><|end|><|user|><｜end▁of▁sentence｜><｜User｜><bos><eos><pad>"
)
_LINGER_ZERO = struct.pack("ii", 1, 0)


def read_chat_request(body: bytes) -> tuple[str, ChatRequest]:
    """Read the body of a chat request; return the model's name and the request.

    Raises:
        InvalidInputError: The body is not JSON, or not a chat request that the sandbox can answer.
        pydantic.ValidationError: A message has no text, or its role is not system, user or assistant.
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
    """Return the body of the response to a chat request."""
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


class ResetResponse(web.Response):
    """No response: the connection is reset."""

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """Reset the connection.

        Raises:
            ConnectionResetError: Always; aiohttp takes it to mean that the client has disconnected.
        """
        if request.transport is not None:
            # A linger time of 0 makes closing send RST instead of FIN.
            request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
            request.transport.abort()
        raise ConnectionResetError("reset, as this sandbox was asked to")


class TruncatedResponse(web.Response):
    """A body that ends halfway to its Content-Length, after which the connection closes."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body=body[: len(body) // 2], content_type="application/json")
        self.headers["Content-Length"] = str(len(body))
        self.force_close()


def break_completion(fault: Fault, completion: dict[str, object], text: str) -> web.Response:
    """Return the response of a fault for a completion with the reply `text`."""
    match fault:
        case Fault.TRUNCATE:
            return TruncatedResponse(orjson.dumps(completion))
        case Fault.INVALID_JSON:
            return _json_body(orjson.dumps(completion)[:-1] + b",]")
        case Fault.NO_CHOICES:
            return _json_body(orjson.dumps(completion | {"choices": []}))
        case Fault.WRONG_TYPES:
            usage: dict[str, object] = {"prompt_tokens": "many", "completion_tokens": [], "total_tokens": None}
            wrong = _with_content([42, {"text": text}][len(text) % 2])
            return _json_body(orjson.dumps(completion | wrong | {"usage": usage, "model": 7}))
        case _:
            # orjson refuses to write a lone surrogate.
            return _json_body(json.dumps(completion | _with_content(_hostile(fault, text))).encode())


def _write_logprobs(reply: ChatReply) -> dict[str, object] | None:
    if not reply.logprobs:
        return None
    tokens = [
        {
            "token": each.token,
            "logprob": dict(each.alternatives)[each.token],
            "top_logprobs": [{"token": text, "logprob": value} for text, value in each.alternatives],
        }
        for each in reply.logprobs
    ]
    return {"content": tokens}


def _read_messages(value: object) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise InvalidInputError("'messages': expected a list of at least one message")
    for index, message in enumerate(value):
        if not isinstance(message, dict) or not isinstance(message.get("content"), str):
            raise InvalidInputError(f"'messages[{index}]': expected an object with a role and a text as its content")
    return tuple(Message(role=message.get("role"), content=message["content"]) for message in value)


def _optional(fields: dict[str, Any], name: str, kind: type | tuple[type, ...]) -> Any:
    """Return a field that is a number or missing."""
    value = fields.get(name)
    if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
        raise InvalidInputError(f"{name!r}: expected a number, got {type(value).__name__}")
    return value


def _hostile(fault: Fault, text: str) -> str:
    middle = len(text) // 2
    match fault:
        case Fault.NUL:
            return f"{text[:middle]}\0{text[middle:]}"
        case Fault.SURROGATE:
            return f"{text[:middle]}\ud83d{text[middle:]}"
        case Fault.CONTROL_TOKENS:
            return text + _CONTROL_TOKENS
        case Fault.HUGE:
            return f"{text} " * (_HUGE_CHARS // (len(text) + 1) + 1)
    raise AssertionError(fault)


def _with_content(content: object) -> dict[str, object]:
    message = {"role": "assistant", "content": content}
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}


def _json_body(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")
