import asyncio
import gc
import multiprocessing
import os
import signal
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest

from music import aio
from music.aio import finish_all, run_in_background

NUM_THREADS = 4


async def here():
    return asyncio.get_running_loop()


async def fails():
    raise ValueError("no")


def test_results_and_errors_come_back():
    assert isinstance(run_in_background(here()), asyncio.AbstractEventLoop)
    with pytest.raises(ValueError, match="no"):
        run_in_background(fails())


async def test_it_works_within_a_running_loop_and_is_another():
    assert run_in_background(here()) is not asyncio.get_running_loop()


def test_threads_that_call_first_at_once_share_one_loop(monkeypatch):
    at_once, made, new_event_loop = threading.Barrier(NUM_THREADS), [], asyncio.new_event_loop

    def new_loop():
        at_once.wait(timeout=30)  # all of them have found none
        made.append(new_event_loop())
        return made[-1]

    monkeypatch.setattr(aio, "_LOOPS", {})
    monkeypatch.setattr(asyncio, "new_event_loop", new_loop)
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        loops = list(pool.map(lambda _: run_in_background(here()), range(NUM_THREADS)))
    (used,) = set(loops)
    assert [loop for loop in made if not loop.is_closed()] == [used]
    assert run_in_background(here()) is used
    used.call_soon_threadsafe(used.stop)


def test_a_call_from_the_loop_itself_raises_instead_of_waiting_for_itself():
    async def nested():
        return run_in_background(here())

    with pytest.raises(RuntimeError, match=r"asyncio\.to_thread"):
        run_in_background(nested())


def until_it_waits(thread):
    while sys._current_frames()[thread].f_code.co_name != "wait":
        time.sleep(0)


def test_an_interrupted_wait_cancels_the_work():
    main, ended = threading.main_thread().ident, threading.Event()

    async def work():
        try:
            until_it_waits(main)
            for _ in range(3):  # a signal just before the thread sleeps does not wake it
                signal.pthread_kill(main, signal.SIGINT)
                await asyncio.sleep(20)
        finally:
            ended.set()

    with pytest.raises(KeyboardInterrupt):
        run_in_background(work())
    assert ended.wait(timeout=30)


def loop_number():
    return id(run_in_background(here())), os.getpid(), list(aio._LOOPS)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this platform does not fork")
def test_a_forked_child_starts_a_loop_of_its_own():
    run_in_background(here())
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        _, child, known = pool.submit(loop_number).result(timeout=60)
    assert known[-1] == child != os.getpid()
    assert child not in aio._LOOPS


async def test_first_is_on_its_way_before_the_last_has_set_out():
    events = []

    async def call(number):
        events.append(("made", number))
        await asyncio.sleep(0)  # aiohttp writes a request in the round after the one that made it
        events.append(("sent", number))
        return number

    assert await finish_all([call(number) for number in range(100)]) == list(range(100))
    assert events.index(("sent", 0)) < events.index(("made", 99))


async def test_first_error_is_raised_when_nothing_is_under_way_any_more():
    ended = []

    async def fail(rounds):
        for _ in range(rounds):
            await asyncio.sleep(0)
        ended.append(rounds)
        raise ValueError(f"after {rounds}")

    with pytest.raises(ValueError, match="after 20"):
        await finish_all([fail(20), fail(0), fail(50)])
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
    task = asyncio.create_task(finish_all([wait_for_ever(number) for number in range(200)]))
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

    (within,) = await finish_all([look()])
    assert within != before
    assert gc.get_threshold() == before
