"""A server that gives every conversation the same number, in every protocol that it can speak."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from music.conversation import Conversation
from music.llm.chat import MalformedReplyError
from music.llm.retry import RetryPolicy
from music.reward import RemoteReward, RemoteRewardSettings
from music.sandbox.artifacts import REWARD_MODEL

QUICK = RemoteRewardSettings(retry=RetryPolicy(max_tries=1))
PROTOCOLS = ["vllm", "sglang", "openai-embeddings", "openrlhf", None]


class Constant(BaseHTTPRequestHandler):
    """Answers 3.0, give or take the server's `noise`."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(404, {})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        items = asked.get("input_ids") or asked.get("input") or asked.get("query") or [None]
        rewards = [3.0 + self.server.noise * (len(str(asked)) % 7 + place) for place in range(len(items))]
        if "messages" in asked:
            answer = {"data": [{"probs": rewards, "num_classes": 1}]}
        elif "query" in asked:
            answer = {"rewards": rewards}
        elif "input_ids" in asked:
            answer = [{"embedding": [reward]} for reward in rewards]
        else:
            answer = {"data": [{"index": place, "embedding": [reward]} for place, reward in enumerate(rewards)]}
        self.answer(200, answer)

    def answer(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Constant) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("noise", "num"), [(0.0, 3), (1e-8, 1)])
def test_it_is_refused_whatever_is_asked(server, protocol, noise, num):
    server.noise = noise
    url = f"http://127.0.0.1:{server.server_port}"
    reward = RemoteReward(str(REWARD_MODEL), url, QUICK, protocol=protocol)
    conversations = [Conversation().user("Hi!").assistant("Hello" + "!" * number) for number in range(num)]
    for ask in (reward, reward.score_each, reward.score_turns):
        with pytest.raises(MalformedReplyError, match=r"got 3\.0\d* for 4 different conversations"):
            ask(conversations)
    reward.close()
