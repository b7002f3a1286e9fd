import asyncio
from contextlib import aclosing

import pytest

from music.llm.chat import EndpointUnavailableError
from music.pairs import ContrastivePair
from music.prompts import PromptKind
from music_agents import FailedPair, FailureReason, SimulationStalledError, simulate
from music_agents.pair_simulator import PairSimulator
from music_agents.seeds import SeedContexts
from music_agents.simulation import MAX_AHEAD, STARTS_AT_ONCE, PairIndices, run_pairs


def failing_at(indices, plain):
    def answer(part, conversation, request):
        if int(request.key.partition("/")[0]) in indices and part is PromptKind.INSTRUCTION:
            return "not in the format"
        return plain(part, conversation, request)

    return answer


async def collect(outcomes, into=None):
    taken = [] if into is None else into
    async for outcome in outcomes:
        taken.append(outcome)  # one by one: what came before an error is looked at too
    return taken


async def test_pairs_come_out_whole(fake_model, graph_over, seeds):
    pairs = await collect(simulate(seeds, graph_over(fake_model()), num_pairs=9, num_turns=2, seed=4))
    assert sorted(pair.id for pair in pairs) == [f"music-4-{index:06d}" for index in range(9)]
    for pair in pairs:
        assert isinstance(pair, ContrastivePair)
        assert pair.chosen.prefix(pair.num_seed_messages) == pair.rejected.prefix(pair.num_seed_messages)
        assert len(pair.chosen.messages) == len(pair.rejected.messages) == pair.num_seed_messages + 4
        assert [contrast.turn for contrast in pair.contrasts] == [0, 1]
        assert (pair.source, pair.persona, pair.retries, pair.judgement) == ("made", "", (), "")
        assert pair.usage.num_calls == 7


async def test_one_pair_for_each_seed_is_the_default(fake_model, graph_over, seeds):
    pairs = await collect(simulate(seeds, graph_over(fake_model()), num_turns=1))
    assert {pair.seed_id for pair in pairs} == {pair.id for pair in seeds}


@pytest.mark.parametrize("max_in_flight", [1, 3, 50])
async def test_failed_indices_are_replaced_by_the_next_ones(fake_model, graph_over, plain, seeds, max_in_flight):
    model = fake_model(failing_at({0, 4, 10, 11}, plain))
    outcomes = simulate(seeds, graph_over(model), num_pairs=10, num_turns=1, max_in_flight=max_in_flight)
    outcomes = await collect(outcomes)
    pairs = [outcome for outcome in outcomes if isinstance(outcome, ContrastivePair)]
    failures = [outcome for outcome in outcomes if isinstance(outcome, FailedPair)]
    assert sorted(int(pair.id[-6:]) for pair in pairs) == [1, 2, 3, 5, 6, 7, 8, 9, 12, 13]
    assert sorted(failure.index for failure in failures) == [0, 4, 10, 11]
    assert {(f.reason, f.role, f.side, f.turn) for f in failures} == {
        (FailureReason.REPLY_UNPARSED, "contrast", "rejected", 0)
    }
    assert all("not in the format" in failure.detail for failure in failures)


@pytest.mark.parametrize("num_wanted", [3, None])
async def test_only_the_indices_given_are_simulated(fake_model, graph_over, plain, seeds, num_wanted):
    graph = graph_over(fake_model(failing_at({3}, plain)))
    simulator = PairSimulator(graph=graph, contexts=SeedContexts(seeds, 0), num_turns=1, run_seed=0)
    candidates = [1, 3, 4, 7, 8]
    outcomes = await collect(run_pairs(simulator, PairIndices(candidates, num_wanted), max_in_flight=2))
    pairs = sorted(int(outcome.id[-6:]) for outcome in outcomes if isinstance(outcome, ContrastivePair))
    # three that come out well; or each candidate once, and none in place of one that failed
    assert pairs == ([1, 4, 7] if num_wanted else [1, 4, 7, 8])


async def test_a_slow_consumer_bounds_the_pairs_started(fake_model, graph_over, seeds):
    model = fake_model()
    taken = 0
    async with aclosing(simulate(seeds, graph_over(model), num_pairs=30, num_turns=1, max_in_flight=4)) as outcomes:
        async for _ in outcomes:
            taken += 1
            for _ in range(100):  # whatever can go on without the consumer does
                await asyncio.sleep(0)
            started = {request.key.partition("/")[0] for request in model.requests}
            assert len(started) <= taken + 4
    assert taken == 30


async def test_max_in_flight_bounds_calls_and_is_reached(fake_model, graph_over, seeds):
    model = fake_model()
    await collect(simulate(seeds, graph_over(model), num_pairs=20, num_turns=2, max_in_flight=6))
    assert model.most_in_flight == 6


async def test_closing_early_cancels_what_is_in_flight(fake_model, graph_over, seeds):
    model = fake_model()
    async with aclosing(simulate(seeds, graph_over(model), num_pairs=30, num_turns=1, max_in_flight=5)) as outcomes:
        async for _ in outcomes:
            model.gate.clear()
            break
    num_requests = len(model.requests)
    model.gate.set()
    await asyncio.sleep(0)
    assert not model.in_flight
    assert len(model.requests) == num_requests


async def test_cancelling_the_consumer_cancels_what_is_in_flight(fake_model, graph_over, seeds):
    model = fake_model()
    model.gate.clear()
    task = asyncio.create_task(collect(simulate(seeds, graph_over(model), num_turns=1, max_in_flight=5)))
    await model.wait_for_in_flight(5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not model.in_flight


async def test_a_dead_endpoint_stops_the_simulation_early_with_the_reason(fake_model, graph_over, seeds):
    def answer(part, conversation, request):
        raise EndpointUnavailableError("connection refused")

    outcomes = []
    with pytest.raises(SimulationStalledError, match=r"20 pairs all failed.*connection refused"):
        await collect(simulate(seeds, graph_over(fake_model(answer)), num_pairs=1000, max_in_flight=8), outcomes)
    assert len(outcomes) == 20
    assert {outcome.reason for outcome in outcomes} == {FailureReason.ENDPOINT_UNAVAILABLE}


async def test_a_bug_in_a_role_is_not_taken_for_a_failed_pair(fake_model, graph_over, seeds):
    def answer(part, conversation, request):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await collect(simulate(seeds, graph_over(fake_model(answer)), num_pairs=3))


async def test_sides_that_do_not_differ_fail_as_data(fake_model, graph_over, seeds):
    def answer(part, conversation, request):
        if part in (PromptKind.USER, PromptKind.ASSISTANT):
            return "what?" if part is PromptKind.USER else "the same"
        return "<modified_instruction>other</modified_instruction><response>the same</response>"

    outcomes = []
    with pytest.raises(SimulationStalledError, match="identical_sides"):
        await collect(simulate(seeds, graph_over(fake_model(answer)), num_pairs=1, num_turns=1), outcomes)
    assert {outcome.reason for outcome in outcomes} == {FailureReason.IDENTICAL_SIDES}


class HeldModel:
    """Wraps a model and holds the calls of some pairs back until it is told to let them go."""

    def __init__(self, inner, held):
        self.name, self._inner, self._held = inner.name, inner, held
        self.released = asyncio.Event()

    async def complete(self, request):
        if int(request.route) in self._held:
            await self.released.wait()
        return await self._inner.complete(request)


async def test_a_slow_pair_holds_back_the_starts_far_ahead_of_it(fake_model, graph_over, seeds):
    """Pairs wait in memory for their place in the output, so they must not run away from one that takes long."""
    max_in_flight, num_pairs = 2, 60
    model = fake_model()
    held = HeldModel(model, {1})
    last = 1 + MAX_AHEAD * max_in_flight
    simulation = simulate(seeds, graph_over(held), num_pairs=num_pairs, num_turns=1, max_in_flight=max_in_flight)
    async with aclosing(simulation) as outcomes:
        taken = [await anext(outcomes) for _ in range(last)]
        rest = asyncio.create_task(collect(outcomes))
        for _ in range(100):  # whatever can go on while the slow pair is out does
            await asyncio.sleep(0)
        assert {int(request.route) for request in model.requests} == set(range(last + 1)) - {1}
        held.released.set()
        taken += await rest
    assert sorted(int(pair.id[-6:]) for pair in taken) == list(range(num_pairs))


async def test_starting_many_pairs_leaves_the_event_loop_to_others(fake_model, graph_over, seeds):
    model = fake_model()
    model.gate.clear()
    num_pairs = 20 * STARTS_AT_ONCE
    most_at_once = num_seen = 0

    async def watch():
        nonlocal most_at_once, num_seen
        while True:
            most_at_once = max(most_at_once, len(model.requests) - num_seen)
            num_seen = len(model.requests)
            await asyncio.sleep(0)

    watcher = asyncio.create_task(watch())
    simulation = simulate(seeds, graph_over(model), num_pairs=num_pairs, num_turns=1, max_in_flight=num_pairs)
    consumer = asyncio.create_task(collect(simulation))
    await model.wait_for_in_flight(num_pairs)
    watcher.cancel()
    assert most_at_once <= 2 * STARTS_AT_ONCE
    model.gate.set()
    assert len(await consumer) == num_pairs
