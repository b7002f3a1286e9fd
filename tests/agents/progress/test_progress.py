import asyncio
import os
import signal
import sys

import pytest

from music.llm.chat import ChatReply, EndpointTimeoutError, EndpointUnreachableError, ReplyOutcome
from music_agents.failures import FailureReason
from music_agents.progress import RunProgress, StopCause, stop_on_signals
from music_agents.progress.progress import Distribution

REPLY = ChatReply(text="yes", outcome=ReplyOutcome.COMPLETE, model="m")


def test_pairs_of_earlier_sessions_count():
    progress = RunProgress()
    progress.begin(num_wanted=50, num_pairs=30, failures={"reply_empty": 2})
    progress.end_pair(32)
    progress.end_pair(33, FailureReason.REPLY_EMPTY)
    assert (progress.num_pairs, progress.num_earlier, progress.num_failed) == (31, 30, 3)


def test_calls_that_fail_stop_the_run_under_the_name_that_pairs_fail_by_and_with_its_remedy():
    progress = RunProgress()
    for _ in range(9):
        progress.call_answered(0.1, "user", REPLY)
    for _ in range(10):
        progress.call_failed(EndpointUnreachableError("m@http://127.0.0.1:1/v1: no connection"))
    assert not progress.stopping
    progress.call_failed(EndpointTimeoutError("late"))
    assert progress.stop_detail == (
        "11 of the last 20 calls failed, 10 of them by endpoint_unavailable (m@http://127.0.0.1:1/v1: no connection). "
        "See the server's log; --patience SECONDS waits out an outage. Then run again"
    )


def test_quantiles_are_right_to_five_percent():
    values = Distribution()
    assert values.quantile(0.5) is None
    for value in range(1, 1001):
        values.add(value / 1000)
    assert values.quantile(0.5) == pytest.approx(0.5, rel=0.06)
    assert values.quantile(0.99) == pytest.approx(0.99, rel=0.06)
    values.add(0.0)
    values.add(-1.0)


@pytest.mark.skipif(sys.platform == "win32", reason="no signal handlers on the loop")
async def test_the_second_interrupt_cuts_the_run_short_whatever_else_stops_it():
    progress = RunProgress()
    progress.stop(StopCause.BUDGET, "spent")

    async def run() -> None:
        with stop_on_signals(progress):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()

    task = asyncio.create_task(run())
    await asyncio.wait([task])
    assert task.cancelled()
    assert progress.stop_reason is StopCause.BUDGET
