"""An OpenAI-compatible server whose models are judges of a fixed mind; a process of its own. `GET /stats` counts."""

import asyncio
import hashlib
import sys
from collections import Counter

from aiohttp import web

COUNTS = Counter()
RATING = {"token": "7", "top_logprobs": [{"token": "7", "logprob": -0.6931472}, {"token": "8", "logprob": -0.6931472}]}

THINKING = "<think>7 or 3?</think>"


def lean(text):
    """Say A for four prompts in five, whatever they show."""
    return "[[A]]" if hashlib.sha256(text.encode()).digest()[0] < 205 else "[[B]]"


def moody(text, seed):
    """Say A or B by the seed."""
    return "[[A]]" if hashlib.sha256(f"{text}{seed}".encode()).digest()[0] < 128 else "[[B]]"


def answer(model, text, seed):
    match model:
        case "first":
            return "The first is better. [[A]]"
        case "ties":
            return "[[C]]"
        case "leans":
            return lean(text)
        case "moody":
            return moody(text, seed)
        case "mumbles":
            return "Hard to say."
        case "mumbles-about-pears":
            return (
                "Hard to say." if "pear" in text else "[[A]]" if text.index("right") < text.index("wrong") else "[[B]]"
            )
        case "thinks":
            return "<think>\nPerhaps [[B]], or [[C]].\n</think>\n\nThe first is better. [[A]]"
        case "only-thinks":
            return "<think>\nPerhaps [[B]].\n</think>"
        case "thinks-of-a-rating":
            return THINKING + "[[7]]"
        case "wakes":
            return "[[C]]" if seed % 3 == 2 else "Hm."
        case _:
            return "[[7]]"


async def complete(http):
    body = await http.json()
    model, text = body["model"], body["messages"][-1]["content"]
    COUNTS["requests"] += 1
    if model == "too-long" and len(text) > 2_000:
        return web.json_response({"error": {"message": "the context is too long"}}, status=400)
    if model == "reasons" and "logprobs" in body:
        COUNTS["refused"] += 1
        return web.json_response({"error": {"message": "logprobs are not supported"}}, status=400)
    said = answer(model, text, body.get("seed", 0))
    choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
    if body.get("logprobs") and model == "doubts":
        choice["logprobs"] = {"content": [RATING]}
    if body.get("logprobs") and model == "thinks-of-a-rating":
        draft = RATING | {"top_logprobs": [{"token": "1", "logprob": 0.0}]}
        rest = [{"token": token, "top_logprobs": []} for token in ("<think>", " or 3?</think>", "[[", "]]")]
        choice["logprobs"] = {"content": [rest[0], draft, rest[1], rest[2], RATING, rest[3]]}
    usage = {"prompt_tokens": 100, "completion_tokens": 10}
    return web.json_response({"model": model, "choices": [choice], "usage": usage})


async def stats(_):
    return web.json_response(COUNTS)


async def main():
    app = web.Application()
    app.router.add_post("/v1/chat/completions", complete)
    app.router.add_get("/stats", stats)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}/v1", flush=True)
    await asyncio.to_thread(sys.stdin.read)  # until whoever started it closes its end


asyncio.run(main())
