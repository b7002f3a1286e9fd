"""What weak models do to a check, and to the first turns of a run."""

from contextlib import asynccontextmanager

import pytest

from music.llm.chat import ReplyOutcome
from music.prompts import PromptKind
from music_agents import SimulationConfig, run_simulation
from music_agents.failures import FailureReason
from music_agents.model_check import Measure, check_models
from music_agents.run.roles import make_progress
from music_agents.seeds import Seed
from music_agents.stall_detection import SimulationStalledError


@pytest.fixture
def check(seeds, monkeypatch):
    """Return what checks a model that plays all roles."""

    async def run(model, **settings):
        @asynccontextmanager
        async def loaded(_):
            yield {"user": model, "assistant": model, "contrast": model}

        monkeypatch.setattr("music_agents.model_check.load_models", loaded)
        config = SimulationConfig(**({"num_pairs": 100, "num_turns": 3, "gates": True} | settings))
        return await check_models(config, [Seed.of(seed) for seed in seeds], make_progress(config))

    return run


def users_ask(part, conversation, request):
    """As `plain_answer`, with users that a gate lets through."""
    if part is PromptKind.USER:
        return f"And what about number {request.seed % 9973}, then?"
    if part is PromptKind.ASSISTANT:
        return f"It is {request.seed % 997}."
    return "Sure! Here is a modified version of it."


async def test_a_contrast_that_never_parses_cannot_work_and_another_can(check, fake_model):
    model = fake_model(users_ask)
    found = await check(model, strategy={"instruction": 1.0})
    assert found.contrasts["instruction"] == Measure(num_asked=16, num_fit=0, unfit={"reply_unparsed": 16})
    assert (found.can_work, found.share_kept) == (False, 0.0)
    text = found.describe()
    assert "instruction 0 of 16 replies usable; reply_unparsed 16" in text
    assert "this strategy cannot work with these models" in text
    assert "--strategy forget,stale needs no format" in text

    found = await check(fake_model(users_ask), strategy={"instruction": 1.0, "forget": 1.0})
    assert found.can_work
    assert found.share_kept == pytest.approx(0.5)
    assert "--strategy forget is what this model can do of the strategy" in found.describe()


async def test_its_calls_are_bounded(check, fake_model):
    model = fake_model(users_ask)
    found = await check(model, strategy={"instruction": 1.0, "forget": 1.0})
    assert len(model.requests) == 8 * 2 * 4 == found.spending.num_calls

    hopeless = fake_model(lambda *_: "Assistant: I can help you with that.")
    found = await check(hopeless)
    assert found.roles["user"] == Measure(num_asked=24, num_fit=0, unfit={"user_role_flip": 24})
    assert len(hopeless.requests) == 24
    assert not found.can_work
    assert "as the user this model speaks as the assistant" in found.describe()


async def test_a_turn_that_is_lost_is_asked_again_with_another_seed(check, fake_model):
    model = fake_model(lambda *_: "Assistant: no.")
    await check(model)
    seeds_by_place = {}
    for request in model.requests:
        seeds_by_place.setdefault(request.route, set()).add(request.seed)
    assert {len(seeds) for seeds in seeds_by_place.values()} == {3}


async def test_cut_and_thinking_replies_are_counted_by_reason(check, fake_model, monkeypatch):
    from dataclasses import replace

    def answer(part, conversation, request):
        said = users_ask(part, conversation, request)
        from music.llm.chat import ChatReply

        reply = ChatReply(text=said, outcome=ReplyOutcome.COMPLETE, model="fake", thinking="hm")
        if part is PromptKind.INSTRUCTION:
            return replace(reply, outcome=ReplyOutcome.LENGTH)
        return replace(reply, text="", outcome=ReplyOutcome.THOUGHT) if part is PromptKind.ASSISTANT else reply

    found = await check(fake_model(answer), strategy={"instruction": 1.0})
    assert found.contrasts["instruction"].unfit == {"reply_cut": 8}
    assert found.roles["assistant"].unfit == {"reply_thought": 24}
    assert found.notes["user:thinking"] == 8
    assert "raise --max-reply-tokens" in found.describe()


def test_a_share_of_turns_counts_three_tries():
    assert Measure(num_asked=10, num_fit=5, unfit={}).share_of_turns == pytest.approx(0.875)
    assert Measure(num_asked=0, num_fit=0, unfit={}).share_of_turns == 1.0


async def simulate(directory, seeds, model, **settings):
    config = SimulationConfig(**({"num_pairs": 200, "num_turns": 2, "gates": False} | settings))
    models = {"user": model, "assistant": model, "contrast": model}
    return await run_simulation(config, directory, models=models, seeds=seeds)


async def test_a_run_whose_contrast_comes_to_nothing_stops_with_the_remedy(seeds, fake_model, tmp_path):
    model = fake_model(users_ask)
    with pytest.raises(SimulationStalledError) as info:
        await simulate(tmp_path, seeds, model, strategy={"instruction": 1.0}, max_in_flight=4, num_turns=5)
    told = str(info.value)
    assert "the contrast gave no usable reply in the first 16 turns, in 16 of them by reply_unparsed" in told
    assert "--strategy forget,stale needs no format" in told
    # 16 lost turns of three replies each, their users' and assistants' calls, and what was in flight.
    assert len(model.requests) <= 16 * 6 + 4 * 6


async def test_one_reply_of_use_is_enough_to_go_on(seeds, fake_model, plain, tmp_path):
    """Yields that are low are slow, not hopeless."""

    def seldom(part, conversation, request):
        is_lucky = request.route == "3" or int(request.route) > 18
        return plain(part, conversation, request) if is_lucky else users_ask(part, conversation, request)

    report = await simulate(tmp_path, seeds, fake_model(seldom), num_pairs=5, strategy={"instruction": 1.0})
    assert report.num_pairs == 5
    assert report.failures == {FailureReason.REPLY_UNPARSED: 18}


async def test_the_message_of_a_stalled_run_names_the_remedy(seeds, fake_model, tmp_path):
    def answer(part, conversation, request):
        return "Assistant: I would say so." if part is PromptKind.USER else "fine"

    with pytest.raises(
        SimulationStalledError, match=r"user_role_flip .*\. As the user this model speaks as the assist"
    ):
        await simulate(tmp_path, seeds, fake_model(answer), gates=True)
