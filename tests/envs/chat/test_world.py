import asyncio
import gc

import pytest

from music_envs.chat.world import all_at_once


async def test_first_is_on_its_way_before_the_last_has_set_out():
    events = []

    async def call(number):
        events.append(("made", number))
        await asyncio.sleep(0)  # aiohttp writes a request in the round after the one that made it
        events.append(("sent", number))
        return number

    assert await all_at_once([call(number) for number in range(100)]) == list(range(100))
    assert events.index(("sent", 0)) < events.index(("made", 99))


async def test_first_error_is_raised_when_nothing_is_under_way_any_more():
    ended = []

    async def fail(rounds):
        for _ in range(rounds):
            await asyncio.sleep(0)
        ended.append(rounds)
        raise ValueError(f"after {rounds}")

    with pytest.raises(ValueError, match="after 20"):
        await all_at_once([fail(20), fail(0), fail(50)])
    assert ended == [0, 20, 50]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("num_rounds", [1, 2, 100])
async def test_cancelling_leaves_nothing_behind(num_rounds):
    begun, ended = [], []

    async def wait_for_ever(number):
        begun.append(number)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    others = asyncio.all_tasks()
    task = asyncio.create_task(all_at_once([wait_for_ever(number) for number in range(200)]))
    for _ in range(num_rounds):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == others
    assert sorted(ended) == sorted(begun)


async def test_garbage_is_collected_as_before_afterwards():
    before = gc.get_threshold()

    async def look():
        return gc.get_threshold()

    (within,) = await all_at_once([look()])
    assert within != before
    assert gc.get_threshold() == before
