import asyncio
from contextlib import aclosing

import pytest

from music.llm.chat import EndpointUnavailableError
from music.pairs import ContrastivePair
from music.prompts import Part
from music_agents import FailedPair, FailureReason, SimulationStalledError, simulate


def failing_at(indices, plain):
    def answer(part, conversation, request):
        if int(request.key.partition("/")[0]) in indices and part is Part.INSTRUCTION:
            return "not in the format"
        return plain(part, conversation, request)

    return answer


async def collect(outcomes, into=None):
    taken = [] if into is None else into
    async for outcome in outcomes:
        taken.append(outcome)  # one by one: what came before an error is looked at too
    return taken


async def test_pairs_come_out_whole(fake_model, roles_over, seeds):
    pairs = await collect(simulate(seeds, roles_over(fake_model()), num_pairs=9, num_turns=2, seed=4))
    assert sorted(pair.id for pair in pairs) == [f"music-4-{index:06d}" for index in range(9)]
    for pair in pairs:
        assert isinstance(pair, ContrastivePair)
        assert pair.chosen.prefix(pair.num_seed_messages) == pair.rejected.prefix(pair.num_seed_messages)
        assert len(pair.chosen.messages) == len(pair.rejected.messages) == pair.num_seed_messages + 4
        assert [contrast.turn for contrast in pair.contrasts] == [0, 1]
        assert pair.models == {"user": "fake", "assistant": "fake", "contrast": "fake"}
        assert pair.usage.num_calls == 8


async def test_one_pair_for_each_seed_is_the_default(fake_model, roles_over, seeds):
    pairs = await collect(simulate(seeds, roles_over(fake_model()), num_turns=1))
    assert {pair.seed_id for pair in pairs} == {pair.id for pair in seeds}


@pytest.mark.parametrize("max_in_flight", [1, 3, 50])
async def test_failed_indices_are_replaced_by_the_next_ones(fake_model, roles_over, plain, seeds, max_in_flight):
    model = fake_model(failing_at({0, 4, 10, 11}, plain))
    outcomes = simulate(seeds, roles_over(model), num_pairs=10, num_turns=1, max_in_flight=max_in_flight)
    outcomes = await collect(outcomes)
    pairs = [outcome for outcome in outcomes if isinstance(outcome, ContrastivePair)]
    failures = [outcome for outcome in outcomes if isinstance(outcome, FailedPair)]
    assert sorted(int(pair.id[-6:]) for pair in pairs) == [1, 2, 3, 5, 6, 7, 8, 9, 12, 13]
    assert sorted(failure.index for failure in failures) == [0, 4, 10, 11]
    assert {(f.reason, f.role, f.side, f.turn) for f in failures} == {
        (FailureReason.REPLY_UNPARSED, "contrast", "rejected", 0)
    }
    assert all("not in the format" in failure.detail for failure in failures)


async def test_indices_of_earlier_sessions_are_skipped(fake_model, roles_over, seeds):
    pairs = await collect(simulate(seeds, roles_over(fake_model()), num_pairs=3, num_turns=1, skip={0, 2}))
    assert sorted(int(pair.id[-6:]) for pair in pairs) == [1, 3, 4]


async def test_a_slow_consumer_bounds_the_pairs_started(fake_model, roles_over, seeds):
    model = fake_model()
    taken = 0
    async with aclosing(simulate(seeds, roles_over(model), num_pairs=30, num_turns=1, max_in_flight=4)) as outcomes:
        async for _ in outcomes:
            taken += 1
            for _ in range(100):  # whatever can go on without the consumer does
                await asyncio.sleep(0)
            started = {request.key.partition("/")[0] for request in model.requests}
            assert len(started) <= taken + 4
    assert taken == 30


async def test_max_in_flight_bounds_calls_and_is_reached(fake_model, roles_over, seeds):
    model = fake_model()
    await collect(simulate(seeds, roles_over(model), num_pairs=20, num_turns=2, max_in_flight=6))
    assert model.most_in_flight == 6


async def test_closing_early_cancels_what_is_in_flight(fake_model, roles_over, seeds):
    model = fake_model()
    async with aclosing(simulate(seeds, roles_over(model), num_pairs=30, num_turns=1, max_in_flight=5)) as outcomes:
        async for _ in outcomes:
            model.gate.clear()
            break
    num_requests = len(model.requests)
    model.gate.set()
    await asyncio.sleep(0)
    assert not model.in_flight
    assert len(model.requests) == num_requests


async def test_cancelling_the_consumer_cancels_what_is_in_flight(fake_model, roles_over, seeds):
    model = fake_model()
    model.gate.clear()
    task = asyncio.create_task(collect(simulate(seeds, roles_over(model), num_turns=1, max_in_flight=5)))
    await model.wait_for_in_flight(5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not model.in_flight


async def test_a_dead_endpoint_stops_the_simulation_early_with_the_reason(fake_model, roles_over, seeds):
    def answer(part, conversation, request):
        raise EndpointUnavailableError("connection refused")

    outcomes = []
    with pytest.raises(SimulationStalledError, match="connection refused") as caught:
        await collect(simulate(seeds, roles_over(fake_model(answer)), num_pairs=1000, max_in_flight=8), outcomes)
    assert len(outcomes) == len(caught.value.failures) == 20
    assert {outcome.reason for outcome in outcomes} == {FailureReason.ENDPOINT_UNAVAILABLE}


async def test_a_bug_in_a_role_is_not_taken_for_a_failed_pair(fake_model, roles_over, seeds):
    def answer(part, conversation, request):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await collect(simulate(seeds, roles_over(fake_model(answer)), num_pairs=3))


async def test_sides_that_do_not_differ_fail_as_data(fake_model, roles_over, seeds):
    def answer(part, conversation, request):
        if part in (Part.USER, Part.ASSISTANT):
            return "the same"
        return "<modified_instruction>other</modified_instruction><response>the same</response>"

    outcomes = []
    with pytest.raises(SimulationStalledError, match="identical_sides"):
        await collect(simulate(seeds, roles_over(fake_model(answer)), num_pairs=1, num_turns=1), outcomes)
    assert {outcome.reason for outcome in outcomes} == {FailureReason.IDENTICAL_SIDES}
