"""Real servers on loopback that misbehave in chosen ways."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from music.conversation import Message
from music.llm import ChatRequest

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch):
    for name in ("MUSIC_API_KEY", "OPENAI_API_KEY", "MUSIC_API_KEY_127_0_0_1", "MUSIC_TRUST_ENV"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def hello():
    return ChatRequest(messages=(Message(role="user", content="Hi!"),), seed=1)


@pytest.fixture
def completion():
    return _completion


@pytest.fixture
def script():
    return Script


def _completion(content="Hello.", finish_reason="stop", **message):
    """Return the body of a chat completion."""
    return {
        "model": "m-2026",
        "choices": [{"message": {"role": "assistant", "content": content} | message, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2},
    }


class Script:
    """A handler that gives its answers in turn, the last one for ever, and keeps the requests."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.requests = []
        self.peers = set()

    async def __call__(self, request):
        self.requests.append((dict(request.headers), json.loads(await request.read())))
        self.peers.add(request.transport.get_extra_info("peername"))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer() if callable(answer) else web.json_response(answer)


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Handler], Awaitable[str]]]:
    """Run a handler behind `POST /v1/chat/completions` and return the base URL."""
    runners = []

    async def start(handler: Handler) -> str:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await handler(request)

        app = web.Application()
        app.router.add_post("/v1/chat/completions", handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}/v1"

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def serve_bytes() -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """Answer every request with the same raw bytes, then close unless told to stay open; return the base URL."""
    servers = []

    async def start(answer: bytes, stay_open: bool = False) -> str:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            if stay_open:
                await reader.read()  # Until the client has had enough.
            writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        servers.append(server)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"

    yield start
    for server in servers:
        server.close()
        await server.wait_closed()
