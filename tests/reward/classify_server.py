"""A server that speaks vLLM's classify protocol over one of this project's rewards: `classify_server.py REWARD PORT`.

The model's name in a request chooses how it answers: `rm` as a model without an activation (problem_type regression),
`sigmoid` as one with, and the others in ways that go wrong. The other protocols are in `protocol_routes.py`. It ends
with the process that started it.
"""

import asyncio
import json
import math
import os
import sys
import threading
from collections import Counter

from aiohttp import web
from protocol_routes import add_protocols

from music.conversation import Conversation
from music.reward.functions import load_reward

GATE_SECONDS = 10.0
IN_STEP = 4

ODD_BODIES = {
    "two-labels": '{"data": [{"index": 0, "label": "B", "probs": [0.3, 0.7], "num_classes": 2}]}',
    "two-results": '{"data": [{"probs": [1.5], "num_classes": 1}, {"probs": [1.5], "num_classes": 1}]}',
    "no-result": '{"data": []}',
    "no-probs": '{"data": [{"index": 0, "num_classes": 1}]}',
    "no-classes": '{"data": [{"index": 0, "probs": [1.5]}]}',
    "nan": '{"data": [{"probs": [NaN], "num_classes": 1}]}',
    "infinite": '{"data": [{"probs": [1e999], "num_classes": 1}]}',
    "null": '{"data": [{"probs": [null], "num_classes": 1}]}',
    "text": '{"data": [{"probs": ["1.5"], "num_classes": 1}]}',
    "embedding": '[{"embedding": [1.5]}]',
    "html": "<html>Welcome</html>",
    "cut": '{"data": [{"probs": [1.',
    "huge": '{"data": "' + 3 * 2**20 * "x" + '"}',
}
FAILS_FIRST = {"flaky": 503, "limited": 429}


class Server:
    """Answers, and keeps what tests ask for."""

    def __init__(self, reward):
        self.reward = reward
        self.bodies = []
        self.seen = Counter()
        self.in_flight = self.most_in_flight = 0
        self.together = asyncio.Barrier(IN_STEP)
        self.is_waited_for, self.gate = asyncio.Event(), asyncio.Event()

    async def classify(self, request):
        text = await request.text()
        body = json.loads(text)
        self.bodies.append(body)
        self.seen[text] += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self.answer(request, body["model"], body, self.seen[text])
        finally:
            self.in_flight -= 1

    async def answer(self, request, model, body, num_seen):
        if model in ODD_BODIES:
            return web.Response(text=ODD_BODIES[model], content_type="application/json")
        if model in FAILS_FIRST and num_seen == 1:
            return error(FAILS_FIRST[model], "not now", {"Retry-After": "0"})
        if model == "locked":
            return error(401, f"bad key: {request.headers.get('Authorization')}")
        if model == "silent":
            await asyncio.Event().wait()
        if model == "in-step":
            await self.together.wait()
        if model == "gated":
            self.is_waited_for.set()
            await asyncio.wait_for(self.gate.wait(), GATE_SECONDS)
        known = {"rm", "sigmoid", "ignores-flag", "softmax", "in-step", "gated", *FAILS_FIRST}
        if model not in known:
            return error(404, f"The model `{model}` does not exist.")
        if any("TOO LONG" in message["content"] for message in body["messages"]):
            return error(400, "This model's maximum context length is 8 tokens.")
        (score,) = self.reward([Conversation.from_messages(body["messages"])])
        return web.json_response(result(activated(model, score, body.get("use_activation"))))

    async def open_gate(self, request):
        await self.is_waited_for.wait()
        self.gate.set()
        return web.Response()

    async def stats(self, request):
        return web.json_response({"bodies": self.bodies, "most_in_flight": self.most_in_flight})


def activated(model, score, use_activation):
    if model == "softmax":
        return 1.0
    if model == "ignores-flag" or (model == "sigmoid" and use_activation is not False):
        return 1 / (1 + math.exp(-score / 10))
    return score


def result(score):
    one = {"index": 0, "label": "LABEL_0", "probs": [score], "num_classes": 1}
    usage = {"prompt_tokens": 9, "total_tokens": 9, "completion_tokens": 0, "prompt_tokens_details": None}
    return {"id": "classify-1", "object": "list", "created": 1, "model": "rm", "data": [one], "usage": usage}


def error(status, message, headers=None):
    body = {"error": {"message": message, "type": "Error", "param": None, "code": status}}
    return web.json_response(body, status=status, headers=headers)


async def main(reward, port):
    server = Server(load_reward(reward))
    app = web.Application()
    app.router.add_post("/classify", server.classify)
    app.router.add_post("/gate", server.open_gate)
    app.router.add_get("/stats", server.stats)
    add_protocols(app, server.reward, server.classify)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


def end_with_parent():
    os.read(0, 1)
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=end_with_parent, daemon=True).start()
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
