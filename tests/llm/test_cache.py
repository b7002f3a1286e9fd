import asyncio
import os
import sqlite3
import sys
from dataclasses import replace

import pytest

from music.errors import InvalidInputError
from music.llm import ChatReply, EndpointUnavailableError, ReplyOutcome, Sampling
from music.llm.cache import CachedModel, ReplyCache
from music.llm.spending.budget import PriceTable
from music.llm.spending.ledger import Ledger
from music.llm.spending.model import BudgetedModel


class Numbered:
    """Numbers its replies; fails on the first calls."""

    def __init__(self, address="http://127.0.0.1:1/v1", model="m", num_failing=0):
        self.name = f"{model}@{address}"
        self.num_failing = num_failing
        self.num_calls = 0

    async def complete(self, request):
        self.num_calls += 1
        if self.num_calls <= self.num_failing:
            raise EndpointUnavailableError("down")
        await asyncio.sleep(0)
        text = str(self.num_calls)
        return ChatReply(
            text=text, outcome=ReplyOutcome.COMPLETE, model="m", prompt_tokens=90, completion_tokens=10, thinking="hm"
        )

    async def aclose(self):
        pass


class Session:
    """One run over a cache."""

    def __init__(self, cache, inner=None):
        self.inner = inner or Numbered()
        self.ledger = Ledger(prices=PriceTable.parse(["*=1:1"]))
        account = self.ledger.open("user", self.inner.name)
        self.model = CachedModel(BudgetedModel(self.inner, account, self.ledger), cache, account)

    async def texts(self, *requests):
        return [(await self.model.complete(request)).text for request in requests]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new folder" / "cache.sqlite"


async def test_a_later_run_pays_only_for_what_is_new(path, hello):
    other = replace(hello, seed=2)
    async with ReplyCache(path) as cache:
        first = await (earlier := Session(cache)).model.complete(hello)
        assert earlier.ledger.spending().cost == pytest.approx(1e-4)
    async with ReplyCache(path) as cache:
        run = Session(cache, Numbered("http://10.0.0.1:9/v1"))  # the model moved
        again = await run.model.complete(replace(hello, key="another run's", route="5"))
        assert again == replace(first, is_reused=True)
        assert await run.texts(other) == ["1"]
    spending = run.ledger.spending()
    (row,) = spending.accounts
    assert (run.inner.num_calls, row.num_calls, row.num_reused, row.reused_tokens) == (1, 1, 1, 100)
    assert (spending.num_calls, spending.num_tokens, spending.cost) == (1, 100, pytest.approx(1e-4))


async def test_whatever_is_asked_otherwise_is_asked_anew(path, hello):
    changes = [
        {"seed": 2},
        {"sampling": Sampling(temperature=1.0)},
        {"sampling": Sampling(extra_body={"top_k": 1})},
        {"sampling": Sampling(stop=("x",))},
        {"json_schema": {"type": "object"}},
        {"top_logprobs": 5},
        {"messages": (*hello.messages, *hello.messages)},
    ]
    async with ReplyCache(path) as cache:
        run = Session(cache)
        requests = [hello, *(replace(hello, **change) for change in changes)]
        assert await run.texts(*requests, *requests) == 2 * [str(number + 1) for number in range(len(requests))]
        assert await Session(cache, Numbered(model="n")).texts(hello) == ["1"]


async def test_options_in_another_order_are_the_same_options(path, hello):
    one, other = (replace(hello, sampling=Sampling(extra_body=body)) for body in ({"a": 1, "b": 2}, {"b": 2, "a": 1}))
    async with ReplyCache(path) as cache:
        assert await Session(cache).texts(one, other) == ["1", "1"]


async def test_samples_without_a_seed_stay_samples(path, hello):
    sampled, greedy = replace(hello, seed=None), replace(hello, seed=None, sampling=Sampling(temperature=0.0))
    async with ReplyCache(path) as cache:
        assert await Session(cache).texts(sampled, sampled, greedy, greedy) == ["1", "2", "3", "3"]


async def test_equal_requests_at_once_are_asked_once(path, hello):
    async with ReplyCache(path) as cache:
        run = Session(cache)
        replies = await asyncio.gather(*(run.model.complete(hello) for _ in range(20)))
        assert {reply.text for reply in replies} == {"1"}
        assert run.ledger.spending().sum("num_reused") == 19


async def test_a_failure_is_not_kept(path, hello):
    async with ReplyCache(path) as cache:
        run = Session(cache, Numbered(num_failing=1))
        with pytest.raises(EndpointUnavailableError):
            await run.model.complete(hello)
        assert await run.texts(hello) == ["2"]


async def test_another_file_is_refused_and_left_alone(path):
    path.parent.mkdir()
    path.write_bytes(b"no database at all, but long enough to be looked at" * 100)
    with pytest.raises(InvalidInputError, match="give another file"):
        ReplyCache(path)
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE replies (key TEXT)")
    connection.close()
    content = path.read_bytes()
    with pytest.raises(InvalidInputError, match="not a cache of this version"):
        ReplyCache(path)
    assert path.read_bytes() == content
    with pytest.raises(InvalidInputError, match="cannot open the cache"):
        ReplyCache(path.parent)


SHARING = """
import asyncio, os, sys
from pathlib import Path
from music.conversation import Message
from music.llm import ChatReply, ChatRequest, ReplyOutcome
from music.llm.cache import CachedModel, ReplyCache
from music.llm.spending.ledger import Ledger

class Model:
    name = "m@http://127.0.0.1:1/v1"
    num_calls = 0

    async def complete(self, request):
        self.num_calls += 1
        text = request.messages[0].content * 100
        return ChatReply(text=text, outcome=ReplyOutcome.COMPLETE, model="m", completion_tokens=1)

async def main(path, start, end):
    sys.stdin.readline()
    model, ledger = Model(), Ledger()
    async with ReplyCache(Path(path)) as cache:
        cached = CachedModel(model, cache, ledger.open("user", model.name))
        async def ask(number):
            request = ChatRequest(messages=(Message(role="user", content=str(number)),), seed=1)
            assert (await cached.complete(request)).text == str(number) * 100
        for first in range(int(start), int(end), 50):
            await asyncio.gather(*(ask(number) for number in range(first, first + 50)))
    print(model.num_calls)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_processes_share_a_file_that_they_make_and_fill_at_the_same_time(path):
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    pipe = asyncio.subprocess.PIPE

    async def start(first, last):
        command = [sys.executable, "-c", SHARING, str(path), str(first), str(last)]
        return await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, env=env)

    processes = [await start(*numbers) for numbers in ((0, 1000), (500, 1500), (0, 1500))]
    ends = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert 1500 <= sum(int(out) for out, _ in ends) <= 3500
    process = await start(0, 1500)
    out, _ = await process.communicate(b"go\n")
    assert int(out) == 0  # nothing that either has asked for is asked for again


async def test_a_killed_process_leaves_a_cache_that_serves(path, hello):
    script = SHARING.replace("    print(model", "        os.kill(os.getpid(), 9)\n    print(model")
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", script, str(path), "0", "100"]
    process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE, env=env)
    await process.communicate(b"go\n")
    assert process.returncode == -9
    async with ReplyCache(path) as cache:
        run = Session(cache)
        requests = [
            replace(hello, messages=(hello.messages[0].model_copy(update={"content": str(number)}),))
            for number in range(100)
        ]
        assert await run.texts(*requests) == [str(number) * 100 for number in range(100)]
        assert run.inner.num_calls == 0
