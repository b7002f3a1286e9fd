"""Runs NeMo Gym's own agent against a chat server and a policy, all over HTTP, and prints what it returns as JSON."""

import asyncio
import json
import socket
import threading
from contextlib import contextmanager
from types import SimpleNamespace
from unittest.mock import MagicMock

import aiohttp
import uvicorn
from fastapi import FastAPI
from nemo_gym.base_resources_server import BaseResourcesServerConfig
from nemo_gym.server_utils import ServerClient
from responses_api_agents.gymnasium_agent.app import GymnasiumAgent, GymnasiumAgentConfig, GymnasiumAgentRunRequest

from music.llm.chat import EndpointUnavailableError
from music.pairs import Usage
from music.reward.tokens.contract import UnscorableError
from music_agents.personas import Persona
from music_agents.roles import RoleTurn
from music_envs.adapters.nemo_gym import ChatServer
from music_envs.chat.world import ChatWorld

SEEN = []
REPLIES = {
    "A river?": ["One.", "Two!!", "Three."],
    "A tea?": ["Green.", "Black tea."],
    "Mute?": ["One.", " "],
    "Cut?": ["One.", "Two<cut>"],
    "Endless?": ["endless"],
    "Alone?": ["hang up"],
    "Full?": ["x" * 900],
}


def length(conversations):
    SEEN.extend(conversation.to_messages() for conversation in conversations)
    if any("endless" in m.content for c in conversations for m in c.messages):
        raise UnscorableError("over_long")
    return [float(sum(len(m.content) for m in c.messages if m.role == "assistant")) for c in conversations]


async def user(view):
    heard = view.conversation.messages[-1].content
    if heard == "hang up":
        raise EndpointUnavailableError("user is down")
    return RoleTurn(text=f"Why {heard}", usage=Usage(num_calls=1))


class Server(ChatServer):
    world = ChatWorld(
        num_turns=3,
        user=user,
        reward=length,
        reward_mode="difference",
        personas=[Persona.of("A cook.")],
        is_done=lambda conversation: "Why Black tea." in conversation.messages[-1].content,
    )
    floor = -5.0
    max_tokens = 64
    context_length = 1000


policy = FastAPI()


@policy.post("/v1/responses")
async def respond(body: dict):
    asked = [item for item in body["input"] if item["role"] != "system"]
    text, cut, _ = REPLIES[asked[0]["content"]][sum(item["role"] == "assistant" for item in asked)].partition("<cut>")
    num_tokens = sum(len(str(item["content"])) for item in asked) + len(text)
    content = {"type": "output_text", "text": text, "annotations": []}
    message = {"id": "m", "type": "message", "role": "assistant", "status": "completed", "content": [content]}
    return {
        "id": "r",
        "object": "response",
        "created_at": 0,
        "model": "policy",
        "output": [message],
        "parallel_tool_calls": False,
        "tool_choice": "auto",
        "tools": [],
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "usage": {
            "input_tokens": num_tokens,
            "output_tokens": 0,
            "total_tokens": num_tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        },
    }


@contextmanager
def served(app):
    """Serve an app on loopback; the value is its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()


async def main():
    client = MagicMock(spec=ServerClient)
    chat = Server(
        config=BaseResourcesServerConfig(host="127.0.0.1", port=0, entrypoint="app.py", name="chat"),
        server_client=client,
    )
    agent = GymnasiumAgent(
        config=GymnasiumAgentConfig(
            host="127.0.0.1",
            port=0,
            entrypoint="app.py",
            name="agent",
            resources_server={"type": "resources_servers", "name": "chat"},
            model_server={"type": "responses_api_models", "name": "policy"},
        ),
        server_client=client,
    )
    with served(chat.setup_webserver()) as chat_url, served(policy) as policy_url:
        urls = {"chat": chat_url, "policy": policy_url}
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:

            async def post(server_name, url_path, json, cookies=None):
                body = json if isinstance(json, dict) else json.model_dump(exclude_unset=True)
                return await session.post(urls[server_name] + url_path, json=body, cookies=cookies)

            client.post = post

            async def run(prompt):
                messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": prompt}]
                row = GymnasiumAgentRunRequest(responses_create_params={"input": messages})
                return (await agent.run(SimpleNamespace(cookies={}), row)).model_dump()

            done = await asyncio.gather(*map(run, REPLIES))
    results = {}
    for prompt, rollout in zip(REPLIES, done, strict=True):
        results[prompt] = {name: rollout[name] for name in ("reward", "terminated", "truncated", "info")}
        results[prompt]["output"] = [(item["type"], item["role"]) for item in rollout["response"]["output"]]
    print(json.dumps(results | {"seen": SEEN, "open": len(chat.session_state)}))


asyncio.run(main())
