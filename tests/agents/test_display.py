import asyncio
from io import StringIO

from rich.console import Console

from music_agents.display import describe, show_progress
from music_agents.progress import RunProgress


def test_a_line_says_how_far_a_run_is(monkeypatch):
    progress = RunProgress(num_wanted=50, num_pairs=30, num_earlier=10, num_calls=400, num_tokens=9000, started=0.0)
    progress.failures["reply_unparsed"] += 2
    monkeypatch.setattr("music_agents.progress.time.monotonic", lambda: 20.0)
    assert describe(progress) == "30/50 pairs, 2 failed, 20 calls/s, 9000 tokens, ETA 0:00:20"
    progress.stop()
    assert describe(progress).endswith("stopping, once calls in flight are answered")


def test_nothing_done_yet_has_no_pace():
    assert describe(RunProgress(num_wanted=5)).endswith("ETA unknown")


async def test_on_a_terminal_the_last_line_is_up_to_date():
    screen = StringIO()
    progress = RunProgress(num_wanted=5)
    async with show_progress(progress, Console(file=screen, force_terminal=True, width=120)):
        await asyncio.sleep(0)
        progress.num_pairs = 5
    assert "5/5 pairs" in screen.getvalue()


async def test_elsewhere_plain_lines_are_printed(monkeypatch):
    monkeypatch.setattr("music_agents.display.PLAIN_SECONDS", 0.0)
    screen = StringIO()
    async with show_progress(RunProgress(num_wanted=5), Console(file=screen, force_terminal=False)):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert "0/5 pairs" in screen.getvalue()
    assert "\x1b" not in screen.getvalue()
