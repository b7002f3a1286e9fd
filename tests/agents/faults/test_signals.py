"""Sessions that are asked to stop, once in order and twice at once, at many points of one run."""

import os
import random
import signal
import time

import pytest

from music.sandbox.server import ServerConfig, sandbox_server

NUM_PAIRS = 150
NUM_SESSIONS = 6
IN_FLIGHT = 16
SETTINGS = {"num_pairs": NUM_PAIRS, "max_in_flight": IN_FLIGHT, "shard_size": 32}


@pytest.fixture(scope="module")
def url():
    with sandbox_server(ServerConfig(latency="5", seed=1)) as url:
        yield url


@pytest.fixture(scope="module")
def whole(url, make_run, tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("whole"), f"m@{url}", **SETTINGS)


@pytest.fixture(scope="module")
def num_calls(whole, url, sessions_of, stats):
    assert sessions_of(whole).complete() == 0
    return stats(url)["requests"]


def stop_once(pid):
    os.kill(pid, signal.SIGTERM)


def stop_at_once(pid):
    """Press Ctrl-C until nothing is left to hear it; twice is enough, but two signals may arrive as one."""
    try:
        while True:
            os.kill(pid, signal.SIGINT)
            time.sleep(0.002)  # another process's end: there is no event to wait for
    except ProcessLookupError:
        pass


@pytest.mark.parametrize(("stop", "num_lost"), [(stop_once, 0), (stop_at_once, IN_FLIGHT)])
def test_six_stops_change_no_row(stop, num_lost, url, whole, num_calls, make_run, stats, sessions_of, tmp_path):
    run, before = make_run(tmp_path, f"m@{url}", **SETTINGS), stats(url)["requests"]
    sessions, points = sessions_of(run), sorted(random.Random(4).sample(range(20, num_calls - 50), NUM_SESSIONS))
    for point in points:
        pid = sessions.start()
        while stats(url)["requests"] - before < point:
            time.sleep(0.005)  # another process's progress
        stop(pid)
        assert sessions.end() != 0
    assert sessions.complete() == 0
    assert run.table.equals(whole.table)
    assert run.failures == whole.failures
    run.assert_whole()
    # Asked once, nothing is lost; asked twice, one call for each pair in flight.
    assert num_calls <= stats(url)["requests"] - before <= num_calls + NUM_SESSIONS * num_lost
