"""One server with two replicas through its whole life; the tests build on each other's state, from top to bottom."""

import asyncio
import json
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest
from safetensors.torch import load_file, save_file

from music.conversation import Conversation
from music.ray_cluster import ray_cluster
from music.reward import RemoteReward, RewardModel
from music.serving.config import ServingConfig
from music.serving.http import HttpRequest
from music.serving.served_model import load_served
from music.serving.service import ScoringService

NUM_CONVERSATIONS = 12
NUM_TURNS = 4
CLIENTS = 8


def talk(number, num_turns=NUM_TURNS):
    """A conversation, whose first message says which one it is."""
    conversation = Conversation()
    for turn in range(num_turns):
        conversation = conversation.user(f"Question {number} {turn}?").assistant(f"Answer {number * turn}.")
    return conversation


TALKS = [talk(number) for number in range(NUM_CONVERSATIONS)]


def test_every_protocol_gives_the_scores_of_the_model_itself(server, model, checkpoint):
    expected = [pytest.approx(score, abs=1e-5) for score in model.score(TALKS)]
    messages = [each.to_messages() for each in TALKS]
    render = partial(model.tokens.tokenizer.apply_chat_template, tokenize=False)
    texts = [render(each) for each in messages]
    prompts = [render(each[:-1], add_generation_prompt=True) for each in messages]

    native, _ = server.post("/v1/score", {"conversations": messages, "per_turn": True})
    assert [item["score"] for item in native["data"]] == expected
    assert [item["turns"] for item in native["data"]] == [
        pytest.approx(each, abs=1e-5) for each in model.score_turns(TALKS)
    ]
    assert native["fingerprint"] == model.fingerprint
    openrlhf, _ = server.post("/get_reward", {"query": texts, "prompts": prompts})
    assert openrlhf["rewards"] == expected
    for path in ("/classify", "/pooling"):
        vllm, _ = server.post(path, {"model": "rm", "input": texts, "use_activation": False})
        assert [(item.get("probs") or item["data"])[0] for item in vllm["data"]] == expected
    assert RemoteReward(str(checkpoint), server.url).score(TALKS) == expected


def test_a_conversation_stays_with_one_replica_whose_cache_knows_its_beginning(server):
    names = set(server.replicas())
    before = sum(server.replicas().values())
    homes, num_tokens = {}, 0
    for num_turns in range(1, NUM_TURNS + 1):
        for number in range(100, 100 + NUM_CONVERSATIONS):
            body = {"conversations": [talk(number, num_turns).to_messages()]}
            answer, replica = server.post("/v1/score", body)
            homes.setdefault(number, set()).add(replica)
            num_tokens += answer["usage"]["num_tokens"]
    assert all(len(replicas) == 1 for replicas in homes.values())
    assert set.union(*homes.values()) == names
    assert len(names) == 2
    assert sum(server.replicas().values()) - before < 0.75 * num_tokens


def test_bad_input_gets_the_answer_of_a_server_without_replicas(server, checkpoint):
    bad = [
        ("POST", path, body)
        for path in ("/v1/score", "/get_reward", "/classify", "/v1/embeddings", "/predict", "/slime", "/v1/reload")
        for body in (
            b"",
            b"{",
            b"[]",
            b'{"conversations": 3, "query": 3, "input": 3.5}',
            b"x" * (server.limits["max_body"] + 1),
        )
    ]
    bad += [
        ("GET", "/v1/score", b""),
        ("POST", "/contract", b""),
        ("GET", "/nowhere", b""),
        ("DELETE", "/v1/score", b""),
    ]
    bad.append(
        ("POST", "/v1/score", json.dumps({"conversations": [[]] * (server.limits["max_conversations"] + 1)}).encode())
    )
    bad.append(("POST", "/v1/score", json.dumps({"conversations": [[], [{"role": "user", "content": "Hi"}]]}).encode()))
    bad.append(("POST", "/v1/reload", json.dumps({"model": str(checkpoint.parent.parent)}).encode()))

    async def answer_all():
        config = ServingConfig(reload_from=checkpoint.parent, **server.limits)
        service = ScoringService(load_served(str(checkpoint), config), config)
        answers = []
        for method, path, body in bad:
            request = HttpRequest(method, path, {}, partial(_give, body))
            response = await service.handle(request)
            answers.append((response.status, response.body))
        await service.aclose()
        return answers

    async def _give(body):
        return body

    for request, (status, body) in zip(bad, asyncio.run(answer_all()), strict=True):
        method, path, sent = request
        got = server.ask(path, sent or None, method)
        assert (got[0], got[2]) == (status, body), request[:2]
    assert {status for status, _ in asyncio.run(answer_all())} >= {200, 400, 403, 404, 405, 413}


def test_pages_answer(server, model):
    assert json.loads(server.ask("/health")[2]) == {"status": "ok"}
    assert json.loads(server.ask("/ready")[2]) == {"status": "ready"}
    assert json.loads(server.ask("/contract")[2])["fingerprint"] == model.fingerprint
    assert "/get_reward" in json.loads(server.ask("/openapi.json")[2])["paths"]
    assert 'music_requests_total{path="/v1/score",replica="front",status="200"}' in server.ask("/metrics")[2].decode()


@pytest.fixture(scope="module")
def second(checkpoint):
    """Another checkpoint, which the server may load."""
    path = shutil.copytree(checkpoint, checkpoint.parent / "second")
    weights = load_file(path / "model.safetensors")
    save_file({name: 1.01 * weight for name, weight in weights.items()}, path / "model.safetensors", {"format": "pt"})
    return path


def test_a_reload_reaches_every_replica_and_a_bad_checkpoint_none(server, checkpoint, second, model):
    (checkpoint.parent / "empty").mkdir()
    status, _, answer = server.ask("/v1/reload", {"model": str(checkpoint.parent / "empty")})
    assert (status, json.loads(answer)["error"]["code"]) == (422, "not_loaded")
    assert fingerprints(server) == {model.fingerprint}
    answer, _ = server.post("/v1/reload", {"model": str(second)})
    changed = RewardModel.from_pretrained(second, device="cpu")
    assert changed.fingerprint != model.fingerprint
    assert answer == {"model": str(second), "fingerprint": changed.fingerprint}
    assert fingerprints(server) == {changed.fingerprint}


def fingerprints(server):
    """Return the fingerprints of the replicas; the conversations have homes on both."""
    answers = [server.post("/v1/score", {"conversations": [each.to_messages()]}) for each in TALKS]
    assert {replica for _, replica in answers} == set(server.replicas())
    return {answer["fingerprint"] for answer, _ in answers}


def test_a_replica_that_is_killed_under_load_loses_no_request_and_comes_back_with_the_new_checkpoint(
    server, second, workers
):
    changed = RewardModel.from_pretrained(second, device="cpu")
    expected = [pytest.approx(score, abs=1e-5) for score in changed.score(TALKS)]
    names, is_enough = set(server.replicas()), threading.Event()

    def send(client):
        """Send conversations one by one, each of them at least once; return how many."""
        num_sent = 0
        while num_sent < NUM_CONVERSATIONS or not is_enough.is_set():
            number = (client + num_sent) % NUM_CONVERSATIONS
            answer, _ = server.post("/v1/score", {"conversations": [TALKS[number].to_messages()]})
            assert answer["data"][0]["score"] == expected[number]
            num_sent += 1
        return num_sent

    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(send, client) for client in range(CLIENTS)]
        try:
            victim, *_ = workers()
            victim.kill()
            victim.wait()
            assert RemoteReward(str(second), server.url).score(TALKS) == expected
        finally:
            is_enough.set()
        assert all(client.result() >= NUM_CONVERSATIONS for client in clients)
    deadline = time.monotonic() + 120
    while len(now := set(server.replicas())) < 2 or now == names:
        assert time.monotonic() < deadline, now
        time.sleep(0.2)  # another process's progress: there is no event to wait for
    assert len(now & names) == 1
    assert fingerprints(server) == {changed.fingerprint}


def test_sigterm_answers_what_was_accepted_and_leaves_the_cluster_as_it_was(server, second, workers, address):
    expected = RewardModel.from_pretrained(second, device="cpu").score(TALKS)
    host, port = urlsplit(server.url).netloc.split(":")
    client, replicas = HTTPConnection(host, int(port), timeout=60), workers()
    for replica in replicas:
        replica.suspend()
    client.request("POST", "/v1/score", json.dumps({"conversations": [each.to_messages() for each in TALKS]}))
    for _ in range(3):  # the event loop has read the request before it answers these
        assert server.ask("/health")[0] == 200
    server.process.terminate()
    while b"draining" not in server.ask("/ready")[2]:
        time.sleep(0.05)  # another process's progress: there is no event to wait for
    for replica in replicas:
        replica.resume()
    response = client.getresponse()
    assert (response.status, response.headers["Connection"]) == (200, "close")
    assert [item["score"] for item in json.load(response)["data"]] == [
        pytest.approx(each, abs=1e-5) for each in expected
    ]
    assert server.process.wait(60) == 0
    assert workers() == []
    with ray_cluster(address) as resources:
        assert resources["CPU"] == 2
        import ray

        assert ray.util.list_named_actors(all_namespaces=True) == []
