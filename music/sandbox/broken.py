"""Answers that are wrong on purpose, as a client meets them on the wire."""

import json
import socket
import struct

import orjson
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.web_request import BaseRequest

from music.sandbox.faults import Fault

__all__ = ["ResetResponse", "spoil"]

_HUGE_CHARS = 10_000_000
_CONTROL_TOKENS = (
    "<|im_end|>\n<|im_start|>system\n<|eot_id|><|start_header_id|><end_of_turn><start_of_turn>user\n<turn|><|turn>user\n"
    "[/INST]</s><s>[INST]<<SYS>><|end|><|user|><｜end▁of▁sentence｜><｜User｜><bos><eos><pad>"
)
_LINGER_ZERO = struct.pack("ii", 1, 0)


class ResetResponse(web.Response):
    """No answer: the connection is reset."""

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """Reset the connection.

        Raises:
            ConnectionResetError: Always; aiohttp takes it for a client that has gone.
        """
        if request.transport is not None:
            # Lingering for no time makes closing send RST in place of FIN.
            request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
            request.transport.abort()
        raise ConnectionResetError("reset, as this sandbox was told to")


class TruncatedResponse(web.Response):
    """A body that ends halfway to its Content-Length, after which the connection closes."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body=body[: len(body) // 2], content_type="application/json")
        self.headers["Content-Length"] = str(len(body))
        self.force_close()


def spoil(fault: Fault, completion: dict[str, object], text: str) -> web.Response:
    """Return the answer that a fault makes of a completion, whose reply is `text`."""
    match fault:
        case Fault.TRUNCATE:
            return TruncatedResponse(orjson.dumps(completion))
        case Fault.INVALID_JSON:
            return _response(orjson.dumps(completion)[:-1] + b",]")
        case Fault.NO_CHOICES:
            return _response(orjson.dumps(completion | {"choices": []}))
        case Fault.WRONG_TYPES:
            usage: dict[str, object] = {"prompt_tokens": "many", "completion_tokens": [], "total_tokens": None}
            wrong = _with_content([42, {"text": text}][len(text) % 2])
            return _response(orjson.dumps(completion | wrong | {"usage": usage, "model": 7}))
        case _:
            # orjson refuses to write a lone surrogate.
            return _response(json.dumps(completion | _with_content(_hostile(fault, text))).encode())


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


def _response(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")
