import asyncio
import json
import logging
import re
from collections import Counter
from contextlib import aclosing
from io import StringIO
from types import SimpleNamespace

import pytest
from rich.console import Console

from music.llm.chat import ChatReply, ReplyOutcome
from music.llm.openai import OpenAIChatModel
from music.llm.spending.budget import Budget, PriceTable
from music.llm.spending.ledger import Ledger
from music_agents.progress import RunProgress, StopCause
from music_agents.progress.display import describe, panel, show_progress
from music_agents.progress.events import ProgressWatch

REPLY = ChatReply(text="yes", outcome=ReplyOutcome.COMPLETE, model="m", prompt_tokens=900_000, completion_tokens=100)


def running(num_pairs: int = 5) -> RunProgress:
    """A run of 50 pairs, of which some are there at four calls each."""
    progress = RunProgress(ledger=Ledger(Budget(max_cost=100.0), PriceTable.parse(["m=1:1"])))
    progress.begin(num_wanted=50)
    account = progress.open_account("user", "m@http://127.0.0.1:8000/v1")
    for index in range(num_pairs):
        for _ in range(4):
            account.charge(str(index), REPLY)
            progress.call_answered(0.2, "user", REPLY)
        progress.end_pair(index)
    return progress


def endpoint(name: str = "m@http://127.0.0.1:8000/v1") -> SimpleNamespace:
    pacer = SimpleNamespace(
        limit=12,
        in_flight=7,
        num_waiting=30,
        rate=3.5,
        num_rate_limited=2,
        errors=Counter(EndpointTimeout=4, RateLimited=2),
        waits="for requests in flight",
    )
    return SimpleNamespace(name=name, pacer=pacer)


def drawn(progress: RunProgress, width: int, *endpoints: SimpleNamespace) -> str:
    screen = StringIO()
    console = Console(file=screen, force_terminal=True, color_system=None, width=width)
    console.print(panel(ProgressWatch(progress, endpoints).snapshot()))
    return screen.getvalue()


def test_a_line_says_how_far_a_run_is():
    progress = running()
    progress.failures["reply_unparsed"] += 2
    line = describe(ProgressWatch(progress).snapshot())
    assert line.startswith("5/50 pairs, ETA ")
    assert "2 failed (reply_unparsed 2)" in line
    assert "18.00 of 100.00 USD" in line
    assert "projected 180,020,000 tokens and 180.02 USD" in line.replace("180.00", "180.02")
    progress.stop(StopCause.BUDGET, "100 USD are spent")
    progress.num_in_flight = 3
    line = describe(ProgressWatch(progress).snapshot())
    assert line.endswith("stopping (budget: 100 USD are spent), once calls in flight are answered")


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.064, "0.064 s"), (0.5, "0.5 s"), (9.96, "10 s"), (49.0, "49 s"), (160.0, "160 s")]
)
def test_latencies_of_slow_models_are_plain_numbers(seconds, shown):
    snapshot = ProgressWatch(running()).snapshot().model_copy(update={"latency_p50": seconds, "latency_p95": 2160.0})
    assert f"latency p50 {shown} p95 2,160 s" in describe(snapshot)


def test_nothing_done_yet_has_no_eta():
    assert "ETA unknown" in describe(ProgressWatch(RunProgress(num_wanted=5)).snapshot())


def test_a_run_whose_projected_calls_are_used_up_but_goes_on_has_no_eta():
    progress = running(49)
    watch = ProgressWatch(progress)
    progress.num_calls += 60
    used_up = watch.snapshot().model_copy(update={"eta_seconds": 0.0})
    assert describe(used_up).startswith("49/50 pairs, ETA unknown, ")


def test_a_run_with_all_its_pairs_needs_no_more_time():
    progress = RunProgress(num_wanted=2, num_pairs=2)  # too few for a projection
    assert describe(ProgressWatch(progress).snapshot("end")).startswith("2/2 pairs, ETA 0:00:00, ")


def test_the_last_line_leaves_the_reason_of_a_stall_to_the_error():
    progress = running()
    progress.stop(StopCause.STALLED, "a long story")
    assert describe(ProgressWatch(progress).snapshot()).endswith("stopping (stalled: a long story)")
    assert describe(ProgressWatch(progress).snapshot("end")).endswith("stopped (stalled)")


def test_the_eta_is_that_of_the_calls_to_come():
    progress = running(5)
    watch = ProgressWatch(progress)
    progress.num_calls += 60
    snapshot = watch.snapshot()
    assert snapshot.projection is not None
    assert snapshot.projection.num_calls == 200
    assert snapshot.eta_seconds is not None
    assert abs(snapshot.eta_seconds * snapshot.calls_per_second - 180) < 0.1 * snapshot.calls_per_second


def test_the_panel_shows_each_endpoint():
    screen = drawn(running(), 130, endpoint(), endpoint("n@http://127.0.0.1:8001/v1"))
    line = "m@http://127.0.0.1:8000/v1: 7 in flight, limit 12, rate 3.5/s, 2 429s, 30 waiting (for requests in flight)"
    assert f"{line}," in screen
    assert "n@http://127.0.0.1:8001/v1: 7 in flight" in screen


async def test_the_client_of_a_server_can_be_shown():
    async with aclosing(OpenAIChatModel("m", "http://127.0.0.1:9/v1")) as model:
        snapshot = ProgressWatch(RunProgress(), model.endpoints).snapshot()
    assert snapshot.endpoints[0].name == "m@http://127.0.0.1:9/v1"
    assert (snapshot.endpoints[0].num_in_flight, snapshot.endpoints[0].limit) == (0, None)


def test_a_narrow_terminal_loses_nothing():
    progress = running()
    progress.errors["endpoint_timeout"] += 3
    screen = drawn(progress, 40, endpoint())
    assert max(map(len, screen.splitlines())) <= 40
    words = " ".join(screen.replace("│", " ").split())
    assert "5/50 pairs" in words
    assert (
        "limit 12, rate 3.5/s, 2 429s, 30 waiting (for requests in flight), failed tries: endpoint_timeout 4" in words
    )
    assert "failed calls: endpoint_timeout 3" in words


def test_80_columns_show_bar_count_and_eta_and_break_between_figures():
    progress = running()
    progress.failures["reply_unparsed"] += 1203
    progress.errors["endpoint_timeout"] += 3
    watch = ProgressWatch(progress, [endpoint("meta-llama/Llama-3.3-70B-Instruct@https://openrouter.ai/api/v1")])
    progress.num_calls += 60
    screen = StringIO()
    console = Console(file=screen, force_terminal=True, color_system="standard", width=80)
    console.print(panel(watch.snapshot().model_copy(update={"eta_seconds": 754.0})))
    _, bar, *lines, _ = (re.sub(r"\x1b\[[\d;]*m", "", line)[2:-2].rstrip() for line in screen.getvalue().splitlines())
    assert set(bar) <= set("━╸╺")
    assert re.fullmatch(r"5/50 pairs, ETA \d:\d\d:\d\d   1,203 failed \(reply_unparsed 1,203\)", lines[0])
    assert lines[-3:] == [
        "meta-llama/Llama-3.3-70B-Instruct@https://openrouter.ai/api/v1: 7 in flight,",
        "  limit 12, rate 3.5/s, 2 429s, 30 waiting (for requests in flight),",
        "  failed tries: endpoint_timeout 4",
    ]


def test_a_line_shows_the_endpoints_that_do_not_take_all_that_they_are_sent():
    quiet = endpoint("quiet@http://127.0.0.1:8001/v1")
    quiet.pacer.waits = ""
    quiet.pacer.num_waiting, quiet.pacer.num_rate_limited, quiet.pacer.errors = 0, 0, Counter()
    line = describe(ProgressWatch(running(), [endpoint(), quiet]).snapshot())
    shown = "m@http://127.0.0.1:8000/v1: 7 in flight, limit 12, rate 3.5/s, 2 429s, 30 waiting (for requests in flight)"
    assert f"; {shown}, failed tries: endpoint_timeout 4" in line
    assert "quiet" not in line


def test_names_and_reasons_are_shown_as_they_are_but_without_secrets_and_control_characters():
    progress = running()
    progress.stop(StopCause.STALLED, "[bold]no[/] https://me:hunter2@host/v1 \x1b[2Jgone")
    screen = drawn(progress, 200, endpoint("[red]m@http://me:hunter2@host/v1"))
    assert "[bold]no[/] https://...@host/v1" in screen
    assert "[red]m@http://...@host/v1" in screen
    assert "hunter2" not in screen
    assert "\x1b[2J" not in screen
    assert (
        "hunter2" not in ProgressWatch(progress, [endpoint("m@http://me:hunter2@host/v1")]).snapshot().model_dump_json()
    )


async def test_on_a_terminal_the_last_figures_are_up_to_date():
    screen = StringIO()
    progress = RunProgress(num_wanted=5)
    async with show_progress(ProgressWatch(progress), Console(file=screen, force_terminal=True, width=120)):
        await asyncio.sleep(0)
        progress.num_pairs = 5
    assert "5/5 pairs" in screen.getvalue()


async def test_elsewhere_plain_lines_are_printed():
    screen = StringIO()
    async with show_progress(
        ProgressWatch(RunProgress(num_wanted=5)), Console(file=screen, force_terminal=False, width=20)
    ):
        pass
    assert screen.getvalue().startswith("0/5 pairs")
    assert screen.getvalue().count("\n") == 1
    assert "\x1b" not in screen.getvalue()


async def test_for_machines_each_line_is_an_event(monkeypatch):
    monkeypatch.setattr("music_agents.progress.display.SAMPLE_SECONDS", 0.001)
    monkeypatch.setattr("music_agents.progress.display.EVENT_SECONDS", 0.0)

    class Screen(StringIO):
        written = asyncio.Event()

        def flush(self) -> None:
            self.written.set()

    screen, progress = Screen(), running()
    console = Console(file=screen, force_terminal=True, width=20)
    async with show_progress(ProgressWatch(progress, [endpoint()]), console, as_json=True):
        await asyncio.wait_for(screen.written.wait(), 10)
    first, *_, last = map(json.loads, screen.getvalue().splitlines())
    assert (first["event"], last["event"]) == ("progress", "end")
    assert last["num_pairs"] == 5
    assert last["spending"]["accounts"][0]["account"] == "user"
    assert last["projection"]["num_calls"] == 200
    assert last["endpoints"][0]["errors"] == {"EndpointTimeout": 4, "RateLimited": 2}
    assert last["endpoints"][0]["num_rate_limited"] == 2
    assert (last["endpoints"][0]["num_waiting"], last["endpoints"][0]["waits"]) == (30, "for requests in flight")
    assert last["loop_lag_p99"] is not None


@pytest.mark.parametrize("as_json", [False, True])
async def test_a_broken_stderr_does_not_cost_the_result(as_json):
    class Broken(StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    console = Console(file=Broken(), force_terminal=False)
    async with show_progress(ProgressWatch(RunProgress(num_wanted=5)), console, as_json=as_json):
        result = 5
    assert result == 5


def test_what_an_endpoint_waits_for_is_shown_on_a_terminal_and_off_one():
    waiting = endpoint()
    waiting.pacer.waits = "12 s more for the end of a pause after a 429"
    screen = " ".join(drawn(running(), 160, waiting).split())
    assert "30 waiting (12 s more for the end of a pause after a 429)" in screen
    line = describe(ProgressWatch(running(), [waiting]).snapshot())
    assert "30 waiting (12 s more for the end of a pause after a 429)" in line


async def test_warnings_are_events_too_where_all_lines_are_json():
    screen = StringIO()
    async with show_progress(ProgressWatch(running()), Console(file=screen), as_json=True):
        logging.getLogger("music.llm.openai").warning("m refuses %s", "seed")
    events = [json.loads(line) for line in screen.getvalue().splitlines()]
    assert events[0] == {"event": "warning", "message": "m refuses seed"}
    assert events[-1]["event"] == "end"
