"""The protocols of `music serve`, SGLang and OpenRLHF under prefixes of a reward server: `URL/MODE/PATH`.

Modes of `music serve`: `music` answers rightly, the others in ways that go wrong. `sglang`, `embeddings` and `openrlhf`
are the other servers, as far as a client sees them; they compute `reward_of_ids` and `reward_of_text`.
"""

import asyncio
import json
import time
from collections import Counter, defaultdict

from aiohttp import web

from music.conversation import Conversation

MODELS = ("music", "other", "reloading", "gated", "busy", "draining", "limited", "bad-request")
FAULTS = ("constant", "null", "nan", "short", "shuffled", "oom-once", "no-turns", "slow", "hanging")
GATE_SECONDS = 20.0
CONTRACT = {
    "version": 3,
    "chat_template_sha256": "0" * 64,
    "starts_with_bos": True,
    "reward_token_id": 5,
    "pad_token_id": 0,
    "max_length": 512,
}


def reward_of_ids(ids):
    return sum(ids) / 7 - 3 * len(ids)


def reward_of_text(text):
    return len(text) - 40.5


class Native:
    """`POST /v1/score` and `GET /contract`, and what tests ask for."""

    def __init__(self, reward):
        self.reward = reward
        self.bodies = defaultdict(list)
        self.times = defaultdict(list)
        self.seen = Counter()
        self.gate, self.is_waited_for = asyncio.Event(), asyncio.Event()

    async def contract(self, request):
        mode = request.match_info["mode"]
        if mode not in MODELS + FAULTS:
            raise web.HTTPNotFound
        return web.json_response({"model": "rm", "fingerprint": self.fingerprint(mode), "contract": CONTRACT})

    def fingerprint(self, mode):
        if mode == "reloading":  # after the checks and a request, another checkpoint
            return "before" if len(self.bodies[mode]) < 3 else "after"
        return "other" if mode == "other" else "same"

    async def score(self, request):
        mode, text = request.match_info["mode"], await request.text()
        body = json.loads(text)
        items = body.get("conversations")
        if items is None:
            items = [[*body["history"], {"role": "assistant", "content": each}] for each in body["candidates"]]
        self.bodies[mode].append(body)
        self.times[mode].append(time.monotonic())
        self.seen[mode, text] += 1
        conversations = [Conversation.from_messages(each) for each in items]
        if refusal := await self.fail(mode, conversations, self.seen[mode, text]):
            return refusal
        data = [self.item(index, each, body["per_turn"]) for index, each in enumerate(conversations)]
        spoil(mode, data, self.seen[mode, text])
        answer = {"object": "list", "model": "rm", "fingerprint": self.fingerprint(mode), "readout": "last"}
        return web.json_response(answer | {"data": data, "usage": {"num_tokens": 9}})

    async def fail(self, mode, conversations, num_seen):
        is_probe = len(conversations) == 4 and "colour" in conversations[0].messages[0].content
        if mode == "gated" and not is_probe:
            self.is_waited_for.set()
            await asyncio.wait_for(self.gate.wait(), GATE_SECONDS)
        if mode == "hanging" and not is_probe:
            await asyncio.Event().wait()
        if mode == "slow":
            await asyncio.sleep(0.02)
        if mode in ("busy", "draining") and num_seen == 1:
            return refuse(429 if mode == "busy" else 503, "not now", {"Retry-After": "1"})
        if mode == "limited" and len(conversations) > 4:
            return refuse(413, "expected at most 4 conversations")
        if mode == "bad-request" and any("BAD" in each.messages[-1].content for each in conversations):
            return refuse(400, "the template refuses it")
        return None

    def item(self, index, conversation, per_turn):
        if "TOO LONG" in conversation.messages[-1].content:
            return item(index, error={"code": "over_long", "message": "max_length 512"})
        if "ODD" in conversation.messages[-1].content:
            return item(index, error={"code": "invalid_conversation", "message": "odd"})
        turns = self.reward([conversation.prefix(end) for end in conversation.turn_ends])
        return item(index, score=turns[-1], turns=turns if per_turn else None)

    async def wait(self, request):
        await self.is_waited_for.wait()
        return web.Response()

    async def asked(self, request):
        mode = request.match_info["mode"]
        return web.json_response({"bodies": self.bodies[mode], "times": self.times[mode]})


def item(index, score=None, turns=None, error=None):
    return {"index": index, "score": score, "turns": turns, "num_dropped_turns": 0, "num_tokens": 9, "error": error}


def spoil(mode, data, num_seen):
    if mode == "constant":
        for each in data:
            each["score"] = 3.0
    if mode in ("null", "nan"):
        data[-1]["score"] = None if mode == "null" else float("nan")
    if mode == "short":
        data.pop()
    if mode == "shuffled":
        data.reverse()
    if mode == "no-turns" and data[0]["turns"]:
        data[0]["turns"].pop()
    if mode == "oom-once" and num_seen == 1:
        data[0].update(score=None, turns=None, error={"code": "out_of_memory", "message": "alone"})


def refuse(status, message, headers=None):
    return web.json_response({"error": {"code": "no", "message": message}}, status=status, headers=headers)


def listing(owner):
    async def models(request):
        return web.json_response({"object": "list", "data": [{"id": "rm", "object": "model", "owned_by": owner}]})

    return models


async def sglang_classify(request):
    ids = (await request.json())["input_ids"]
    if any(len(each) > 300 for each in ids):
        return web.json_response({"error": {"message": "the input is longer than the context"}}, status=400)
    return web.json_response([{"embedding": [reward_of_ids(each)], "meta_info": {}} for each in ids])


async def embed(request):
    data = [{"embedding": [reward_of_ids(e)], "index": i} for i, e in enumerate((await request.json())["input"])]
    return web.json_response({"object": "list", "model": "rm", "data": data[::-1]})


async def embed_text(request):
    data = [{"embedding": [0.25, -0.5, 0.75], "index": i} for i, _ in enumerate((await request.json())["input"])]
    return web.json_response({"data": data})


async def get_reward(request):
    rewards = [reward_of_text(each) for each in (await request.json())["query"]]
    return web.json_response({"rewards": rewards, "scores": rewards, "extra_logs": {"dummy_scores": rewards}})


async def fastapi_document(request):
    return web.json_response({"openapi": "3.1.0", "paths": {"/get_reward": {}}})


def add_protocols(app, reward, classify):
    native = Native(reward)
    app.router.add_get("/{mode}/contract", native.contract)
    app.router.add_post("/{mode}/v1/score", native.score)
    app.router.add_get("/{mode}/wait", native.wait)
    app.router.add_get("/{mode}/asked", native.asked)
    app.router.add_get("/vllm/v1/models", listing("vllm"))
    app.router.add_post("/vllm/classify", classify)
    app.router.add_get("/sglang/v1/models", listing("sglang"))
    app.router.add_post("/sglang/classify", sglang_classify)
    app.router.add_post("/embeddings/v1/embeddings", embed)
    app.router.add_post("/vectors/v1/embeddings", embed_text)
    app.router.add_get("/openrlhf/openapi.json", fastapi_document)
    app.router.add_post("/openrlhf/get_reward", get_reward)
