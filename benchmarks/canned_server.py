"""A chat endpoint that takes almost no CPU, to measure clients.

It parses only enough HTTP to find the end of a request. It answers every request after a fixed time with a prepared
chat completion that differs only in a number, as users' messages must differ.
"""

import asyncio
import multiprocessing
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from multiprocessing.connection import Connection
from typing import cast

import orjson
import uvloop

__all__ = ["canned_server"]

NUM_MARK = b"#" * 9
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


@contextmanager
def canned_server(seconds: float) -> Iterator[str]:
    """Run the server in its own process during the block; yield its base URL."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=serve, args=(seconds, sender), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{receiver.recv()}/v1"
    finally:
        process.terminate()
        process.join()


def serve(seconds: float, sender: "Connection[int, int]") -> None:
    """Serve until terminated; send the port first."""
    uvloop.run(_serve(seconds, sender))


class CannedReplies(asyncio.Protocol):
    """One connection.

    Args:
        answer: A whole HTTP response, with `NUM_MARK` in place of the number.
        numbers: The numbers, shared by all connections.
        seconds: Time from a request to its response.
    """

    def __init__(self, answer: bytes, numbers: Iterator[int], seconds: float) -> None:
        self._answer, self._numbers, self._seconds = answer, numbers, seconds
        self._received = b""
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the connection."""
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        """Answer after the delay, once the request is complete."""
        self._received += data
        head, blank, body = self._received.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if not blank or (length and len(body) < int(length[1])):
            return
        self._received = b""
        answer = self._answer.replace(NUM_MARK, b"%09d" % next(self._numbers))
        self._loop.call_later(self._seconds, self._transport.write, answer)


async def _serve(seconds: float, sender: "Connection[int, int]") -> None:
    answer, numbers = _answer(), count()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: CannedReplies(answer, numbers, seconds), "127.0.0.1", 0, backlog=4096)
    sender.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def _answer() -> bytes:
    """Return the response to every request."""
    message = {"role": "assistant", "content": f"And what would you say to point {NUM_MARK.decode()}?"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 300, "completion_tokens": 10, "total_tokens": 310}
    body = orjson.dumps({"id": "0", "object": "chat.completion", "model": "good", "choices": [choice], "usage": usage})
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
