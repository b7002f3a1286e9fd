import asyncio
from dataclasses import replace

import pytest

from music.llm import ChatReply, EndpointUnavailableError, Journal, ReplyOutcome, Sampling
from music.llm.cache import MemoizedModel


class Numbered:
    """Numbers its replies; fails on the first calls."""

    name = "m@http://127.0.0.1:1/v1"

    def __init__(self, num_failing=0):
        self.num_failing = num_failing
        self.num_calls = 0

    async def complete(self, request):
        self.num_calls += 1
        if self.num_calls <= self.num_failing:
            raise EndpointUnavailableError("down")
        await asyncio.sleep(0)
        return ChatReply(text=str(self.num_calls), outcome=ReplyOutcome.COMPLETE, model="m")

    async def aclose(self):
        pass


async def test_equal_requests_are_asked_once_and_others_are_told_apart(hello):
    inner = Numbered()
    model = MemoizedModel(inner)
    replies = await asyncio.gather(*(model.complete(hello) for _ in range(5)))
    assert {reply.text for reply in replies} == {"1"}
    others = [
        replace(hello, **change)
        for change in ({"seed": 2}, {"sampling": Sampling(temperature=1.0)}, {"top_logprobs": 5})
    ]
    assert [(await model.complete(other)).text for other in others] == ["2", "3", "4"]
    assert (await model.complete(replace(hello, key="k", route="r"))).text == "1"


async def test_a_journal_outlives_the_object_and_the_address(hello, tmp_path):
    async with Journal.open(tmp_path / "j", {}) as journal:
        await MemoizedModel(Numbered(), journal, "judge").complete(hello)
    async with Journal.open(tmp_path / "j", {}) as journal:
        moved = Numbered(num_failing=9)
        moved.name = "m@http://127.0.0.1:2/v1"
        assert (await MemoizedModel(moved, journal, "judge").complete(hello)).text == "1"


async def test_a_failure_is_not_remembered(hello):
    model = MemoizedModel(Numbered(num_failing=1))
    with pytest.raises(EndpointUnavailableError):
        await model.complete(hello)
    assert (await model.complete(hello)).text == "2"
