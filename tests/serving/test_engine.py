import asyncio
import gc
import random
import weakref
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from music.conversation import Conversation
from music.reward import RewardModel
from music.reward.scoring.forward import PackedScorer
from music.serving.config import ServingConfig
from music.serving.engine import ScoringEngine
from music.serving.items import FAILED, OUT_OF_MEMORY
from music.serving.pending import DrainingError, QueueFullError, TooManyTokensError
from music.serving.protocols.base import encode_conversations
from music.serving.served_model import load_served

OTHER_BATCH = [9, 9, 9]
"""A conversation that keeps the model busy while requests gather behind it."""


@pytest.fixture
async def run(make_sum_model):
    """Return a maker of engines with a model that the test controls; they end with the test."""
    engines = []

    def start(**options):
        engines.append(ScoringEngine(make_sum_model(), **options))
        return engines[-1]

    yield start
    for engine in engines:
        if hasattr(engine.served.model, "gate"):
            engine.served.model.gate.set()
        await engine.aclose()


@pytest.fixture
def submit(encode):
    """Return what sends a request and lets the engine take it."""

    async def send(engine, *conversations):
        task = asyncio.create_task(engine.score(encode(*conversations), len(conversations)))
        await asyncio.sleep(0)
        return task

    return send


@pytest.fixture
def hold(submit):
    """Return what keeps the engine's model busy until its gate opens."""

    async def keep_busy(engine):
        model = engine.served.model
        model.gate.clear()
        model.is_waiting.clear()
        task = await submit(engine, OTHER_BATCH)
        await asyncio.to_thread(model.is_waiting.wait)
        return task

    return keep_busy


async def tokenized(engine, num_conversations):
    """Wait until so many conversations wait for the model."""
    async with asyncio.timeout(30):
        while len(engine._waiting) < num_conversations:  # noqa: ASYNC110 - the engine has no event for it
            await asyncio.sleep(0)


def scores(answer):
    return [result.score for result in answer.results]


async def test_results_keep_the_order_of_the_request(run, encode):
    answer = await run().score(encode([5], [1, 2], [7], [1]), 4)
    assert scores(answer) == [5, 3, 7, 1]


async def test_requests_that_arrive_while_the_model_is_busy_are_one_batch(run, submit, hold):
    engine = run()
    first = await hold(engine)
    others = [await submit(engine, [1, number]) for number in range(20)]
    await tokenized(engine, 20)
    engine.served.model.gate.set()
    assert [scores(await task) for task in others] == [[1 + number] for number in range(20)]
    assert scores(await first) == [27]
    assert [len(batch) for batch in engine.served.model.batches] == [1, 20]


async def test_what_nobody_waits_for_is_not_scored(run, submit, hold):
    engine = run()
    await hold(engine)
    gone, stays = await submit(engine, [1], [2]), await submit(engine, [3])
    await tokenized(engine, 3)
    gone.cancel()
    await asyncio.wait([gone])
    assert engine.num_queued == 2
    engine.served.model.gate.set()
    assert scores(await stays) == [3]
    assert engine.served.model.batches[1:] == [[(3,)]]


async def test_a_request_is_answered_by_the_model_that_it_came_to(run, submit, hold, make_sum_model):
    engine = run()
    old, new = engine.served, make_sum_model()
    first = await hold(engine)
    waiting = await submit(engine, [1])
    await tokenized(engine, 1)
    engine.replace(new)
    later = await submit(engine, [2])
    old.model.gate.set()
    assert [(await task).served for task in (first, waiting, later)] == [old, old, new]
    assert new.model.batches == [[(2,)]]


async def test_a_replaced_model_is_freed_although_no_request_follows(run, encode, make_sum_model):
    engine = run()
    await engine.score(encode([1]), 1)
    old = weakref.ref(engine.served.model)
    engine.replace(make_sum_model())
    for _ in range(10):  # the rounds in which the event loop drops what it has done
        await asyncio.sleep(0)
    gc.collect()
    assert old() is None


async def test_a_drain_answers_what_waits_and_refuses_what_comes(run, submit, hold, encode):
    engine = run()
    first, second = await hold(engine), await submit(engine, [1])
    drain = asyncio.create_task(engine.drain())
    await asyncio.sleep(0)
    with pytest.raises(DrainingError):
        await engine.score(encode([2]), 1)
    assert not drain.done()
    engine.served.model.gate.set()
    await drain
    assert [scores(first.result()), scores(second.result())] == [[27], [1]]


async def test_requests_that_wait_when_the_engine_is_closed_get_an_error(run, hold):
    engine = run()
    task = await hold(engine)
    await engine.aclose()
    with pytest.raises(DrainingError):
        await task


async def test_a_full_queue_refuses_requests_and_says_when_to_return(run, submit, hold, encode):
    engine = run(max_queued=3)
    await hold(engine)
    fits = await submit(engine, [1], [2])
    with pytest.raises(QueueFullError) as refused:
        await engine.score(encode([3]), 1)
    assert refused.value.retry_after >= 1
    engine.served.model.gate.set()
    assert scores(await fits) == [1, 2]
    assert scores(await engine.score(encode([3]), 1)) == [3]


async def test_a_request_of_too_many_tokens_is_refused_alone(run, submit):
    engine = run(max_tokens=4)
    large, small = await submit(engine, [1, 2, 3], [4, 5]), await submit(engine, [1, 2], [3, 4])
    with pytest.raises(TooManyTokensError, match="at most 4 tokens in a request, got 5"):
        await large
    assert scores(await small) == [3, 7]


async def test_if_memory_runs_out_batches_are_halved_and_get_smaller(run, submit, hold):
    engine = run(batch_tokens=64)
    model = engine.served.model

    def fail_above_eight(batch):
        if sum(map(len, batch)) > 8:
            raise torch.OutOfMemoryError("out of memory")

    model.fault = fail_above_eight
    num_failed = []
    for _ in range(3):
        await hold(engine)
        tasks = [await submit(engine, [number, number]) for number in range(32)]
        await tokenized(engine, 32)
        num_before = len(model.batches)
        model.gate.set()
        assert [scores(await task) for task in tasks] == [[2 * number] for number in range(32)]
        num_failed.append(sum(sum(map(len, batch)) > 8 for batch in model.batches[num_before:]))
    assert num_failed[0] > 0
    assert num_failed[-1] == 0


async def test_the_error_of_a_failed_pass_is_dropped_before_the_halves_are_scored(run, encode):
    class Tensor:
        """Stands for the memory of a pass."""

    engine, alive = run(), []

    def fail(batch):
        tensor = Tensor()
        alive.append(sum(ref() is not None for ref in refs))
        refs.append(weakref.ref(tensor))
        if len(batch) > 1:
            raise torch.OutOfMemoryError("out of memory")

    refs = []
    engine.served.model.fault = fail
    assert scores(await engine.score(encode([1], [2], [3], [4]), 4)) == [1, 2, 3, 4]
    assert len(alive) == 7
    assert not any(alive)


@pytest.mark.parametrize(
    ("error", "code"), [(torch.OutOfMemoryError("no"), OUT_OF_MEMORY), (ZeroDivisionError("no"), FAILED)]
)
async def test_a_conversation_on_which_the_model_fails_harms_no_other(run, submit, hold, error, code):
    engine = run()

    def fail(batch):
        if (6,) in batch:
            raise error

    engine.served.model.fault = fail
    await hold(engine)
    tasks = [await submit(engine, [number]) for number in range(9)]
    await tokenized(engine, 9)
    engine.served.model.gate.set()
    results = [(await task).results[0] for task in tasks]
    assert [result.score for result in results] == [0, 1, 2, 3, 4, 5, None, 7, 8]
    assert results[6].error.code == code
    assert not engine.is_suspect


async def test_an_error_in_encoding_is_that_of_one_request(run, submit, encode):
    engine = run()

    def fail(_):
        raise ZeroDivisionError

    bad = asyncio.create_task(engine.score(fail, 1))
    good = await submit(engine, [1])
    with pytest.raises(ZeroDivisionError):
        await bad
    assert scores(await good) == [1]


async def test_a_bug_in_the_engine_is_raised_to_who_runs_it(run, encode):
    def fail(_):
        raise ZeroDivisionError

    engine = run(observe=fail)
    await engine.score(encode([1]), 1)
    with pytest.raises(ZeroDivisionError):
        await engine.run()


WORDS = ("apple", "pear", "plan", "walk", "city", "cold", "warm")


def conversation(seed):
    """Return a conversation; those of equal parity begin alike."""
    rng = random.Random(seed)
    made = Conversation().user(f"Name a fruit {seed % 2}.").assistant("An apple.")
    for _ in range(rng.randint(0, 2)):
        made = made.user(" ".join(rng.choices(WORDS, k=5))).assistant(
            " ".join(rng.choices(WORDS, k=rng.randint(1, 30)))
        )
    return made


@pytest.fixture(scope="module")
def served(checkpoint):
    return load_served(str(checkpoint), ServingConfig(device="cpu"))


@pytest.fixture(scope="module")
def reference(checkpoint):
    return RewardModel.from_pretrained(checkpoint, device="cpu")


async def test_a_model_with_a_prefix_cache_scores_right_after_memory_ran_out_in_mid_row(served, reference, monkeypatch):
    hidden, sizes = PackedScorer.hidden, []

    def fail_on_long_rows(self, row, table, past=None):
        sizes.append(row.num_tokens)
        found = hidden(self, row, table, past)  # which has stored the row's keys and values in the cache
        if row.num_tokens > 150:
            raise torch.OutOfMemoryError("out of memory")
        return found

    asked = [conversation(seed) for seed in range(12)]
    expected = reference.score(asked)
    monkeypatch.setattr(PackedScorer, "hidden", fail_on_long_rows)
    engine = ScoringEngine(served)
    for _ in range(2):
        answer = await engine.score(partial(encode_conversations, conversations=asked), len(asked))
        found = [(score, result) for score, result in zip(expected, answer.results, strict=True) if not result.error]
        assert len(found) > 6
        assert [result.score for _, result in found] == pytest.approx([score for score, _ in found], abs=1e-5)
        assert {result.error.code for result in answer.results if result.error} <= {OUT_OF_MEMORY}
    assert max(sizes) > 150
    await engine.aclose()


@settings(max_examples=15)
@given(
    st.lists(st.lists(st.integers(0, 11), min_size=1, max_size=5), min_size=1, max_size=12), st.sampled_from([32, 512])
)
def test_answers_are_the_models_scores_whatever_is_scored_together(served, reference, requests, batch_tokens):
    async def answers():
        engine = ScoringEngine(served, batch_tokens=batch_tokens)
        try:
            asked = [[conversation(seed) for seed in seeds] for seeds in requests]
            encoders = [partial(encode_conversations, conversations=each) for each in asked]
            return await asyncio.gather(
                *(engine.score(encoder, len(each)) for encoder, each in zip(encoders, asked, strict=True))
            )
        finally:
            await engine.aclose()

    for seeds, answer in zip(requests, asyncio.run(answers()), strict=True):
        assert scores(answer) == pytest.approx(reference.score([conversation(seed) for seed in seeds]), abs=1e-5)
