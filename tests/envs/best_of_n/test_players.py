import asyncio

import pytest

from music.conversation import Message
from music.llm.cache import MemoizedModel
from music.llm.chat import ChatReply, ChatRequest, EndpointUnavailableError, ReplyOutcome, Sampling
from music.llm.journal import Journal
from music_envs import run_best_of_n
from music_envs.players import open_players


class Moody:
    """An endpoint that heeds no seed and never says the same twice; it takes a round of the loop to answer."""

    name = "moody@http://127.0.0.1:1/v1"

    def __init__(self, fails=()):
        self.fails = fails
        self.num_calls = 0

    async def complete(self, request):
        self.num_calls += 1
        number = self.num_calls
        await asyncio.sleep(0)
        if number in self.fails:
            raise EndpointUnavailableError("moody is down")
        text = f"Mood {number} {'!' * (number * 7 % 5)}"
        return ChatReply(text=text, outcome=ReplyOutcome.COMPLETE, model="moody", completion_tokens=number)

    async def aclose(self):
        self.is_closed = True


def request(text="Hi!", seed=None, key="", route="", **sampling):
    messages = (Message(role="user", content=text),)
    return ChatRequest(messages=messages, seed=seed, key=key, route=route, sampling=Sampling(**sampling))


async def test_selectors_that_are_compared_share_what_an_endpoint_that_ignores_seeds_says(seeds, config, shortest):
    assistant, user = Moody(), Moody()
    shared = {"assistant": MemoizedModel(assistant), "user": MemoizedModel(user)}
    first = await run_best_of_n(seeds, **shared, reward=shortest, config=config)
    paid = assistant.num_calls, user.num_calls
    assert await run_best_of_n(seeds, **shared, reward=shortest, config=config) == first
    assert (assistant.num_calls, user.num_calls) == paid
    other = await run_best_of_n(seeds, **shared, reward=lambda cs: [-s for s in shortest(cs)], config=config)
    assert [r.decisions[0].candidates for r in other] == [r.decisions[0].candidates for r in first]
    assert [r.conversation for r in other] != [r.conversation for r in first]


async def test_equal_requests_that_come_at_once_are_one():
    moody = Moody()
    model = MemoizedModel(moody)
    replies = await asyncio.gather(*(model.complete(request(key=str(n), route=str(n))) for n in range(5)))
    assert (len(set(replies)), moody.num_calls) == (1, 1)


@pytest.mark.parametrize(
    "other", [request("Ho!"), request(seed=1), request(temperature=0.5), request(max_tokens=9)], ids=str
)
async def test_what_differs_in_what_is_asked_is_another_request(other):
    model = MemoizedModel(Moody())
    assert await model.complete(request()) != await model.complete(other)


async def test_a_failure_is_not_remembered():
    model = MemoizedModel(Moody(fails={1}))
    with pytest.raises(EndpointUnavailableError):
        await model.complete(request())
    assert (await model.complete(request())).text.startswith("Mood 2")


async def test_a_journal_is_gone_on_with_wherever_the_model_is_served(tmp_path):
    first, again = Moody(), Moody()
    again.name = "moody@http://127.0.0.1:2/v1"
    async with Journal.open(tmp_path / "replies.sqlite", {}) as journal:
        said = await MemoizedModel(first, journal, "user").complete(request())
        await MemoizedModel(first, journal, "assistant").complete(request())
    async with Journal.open(tmp_path / "replies.sqlite", {}) as journal:
        assert await MemoizedModel(again, journal, "user").complete(request()) == said
        again.name = "another@http://127.0.0.1:2/v1"
        await MemoizedModel(again, journal, "user").complete(request())
    assert (first.num_calls, again.num_calls) == (2, 1)


async def test_a_run_whose_reward_failed_goes_on_and_no_reply_is_lost_or_paid_for_twice(
    every_strategy, tmp_path, monkeypatch, seeds, config, shortest
):
    models, scorings, path = [], [], tmp_path / "replies.sqlite"

    def open_moody(endpoint, settings):
        models.append(Moody())
        models[-1].name = endpoint
        return models[-1]

    def fails_at_last(conversations):
        scorings.append(len(conversations))
        if len(scorings) == every_strategy.num_scorings:
            raise MemoryError
        return shortest(conversations)

    async def session(reward):
        async with open_players({"assistant": "a", "user": "u"}, journal=path) as players:
            return await run_best_of_n(seeds, **players, reward=reward, config=config, strategy=every_strategy.strategy)

    def num_paid():
        return sum(model.num_calls for model in models)

    monkeypatch.setattr("music_envs.players.load_model", open_moody)
    with pytest.raises(MemoryError):
        await session(fails_at_last)
    assert all(model.is_closed for model in models)
    before = num_paid()
    rollouts = await session(shortest)
    whole = num_paid()
    assert before <= whole < 2 * before
    assert await session(shortest) == rollouts
    assert num_paid() == whole
    async with Journal.open(path, {}) as journal:
        assert len(journal) == whole
