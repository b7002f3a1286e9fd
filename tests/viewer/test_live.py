"""The page of a run, from files as a run leaves them at any time, and beside a real one."""

import json
import os
import signal
import subprocess
import sys
from urllib.parse import quote

import pytest

from music.viewer.live import SILENT_SECONDS, RunFolders, read_run
from tests.viewer.conftest import FAILURE, PAYLOAD, opened, pair_of, write_lines, write_table
from tests.viewer.test_server import ask, viewing

REPORT = {
    "status": "running",
    "num_wanted": 10,
    "num_pairs": 3,
    "num_waiting": 1,
    "failures": {"reply_empty": 1},
    "retries": {"user:reply_cut": 2},
    "spending": {"num_calls": 40, "num_tokens": 8000, "cost": 1.5},
    "wall_seconds": 8.0,
    "endpoints": {"user": "m"},
}
SIMULATE = """
import os, signal, sys
from music_agents.run import session
session.REPORT_SECONDS, session.FLUSH_SECONDS, session.FLUSH_SHARE = 0, 0, 0
write, stopped = session.write_report, []
def write_and_stop(path, report):
    write(path, report)
    if report.num_pairs >= 5 and not stopped:
        stopped.append(1)
        os.kill(os.getpid(), signal.SIGSTOP)
session.write_report = write_and_stop
from music.cli import main
sys.argv = ["music", "simulate", "sandbox", "--num-pairs", "40", "--turns", "2", "--out", sys.argv[1]]
main()
"""
"""A real run that stops once, with the fifth pair on disk, so that a test can look at it."""


def failure(number, **fields):
    return {**FAILURE, "index": number, "id": f"music-0-{number:06d}", "dropped": True, **fields}


def write_report(folder, **fields):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps(REPORT | fields))


def written(folder):
    return (folder / "run.json").stat().st_mtime


def test_figures_of_a_running_run(tmp_path):
    write_report(tmp_path)
    run = read_run(tmp_path, now=written(tmp_path) + 2)
    assert (run.status, run.num_pairs, run.num_waiting, run.num_wanted) == ("running", 4, 1, 10)
    assert (run.num_calls, run.num_tokens, run.cost, run.seconds) == (40, 8000, 1.5, 10)
    (paced,) = RunFolders().runs([str(tmp_path / "failures.jsonl")])
    assert paced.pairs_per_second == pytest.approx(0.5, abs=0.2)
    assert paced.seconds_left == pytest.approx(6 / paced.pairs_per_second)


def test_the_log_is_ahead_of_the_report_and_may_be_torn(tmp_path):
    write_report(tmp_path)
    lines = [failure(1), failure(2, detail="other", text="Hm?"), failure(3, reason="rate_limited"), failure(2)]
    write_lines(tmp_path / "failures.jsonl", *lines, {"kind": "another"})
    with (tmp_path / "failures.jsonl").open("a") as file:
        file.write('no json\n{"index": 4, "id": "music-0-000004", "rea')
    run = read_run(tmp_path)
    assert {fault.reason: fault.num for fault in run.faults} == {"empty_reply": 2, "reply_empty": 1, "rate_limited": 1}
    (example,) = run.faults[0].examples  # both say the same
    assert example.id == "music-0-000002"


def test_only_the_end_of_a_long_log_is_read(tmp_path):
    write_report(tmp_path, failures={"empty_reply": 4000})
    write_lines(tmp_path / "failures.jsonl", *(failure(number, detail=f"{number}") for number in range(4000)))
    (fault,) = read_run(tmp_path).faults
    assert (fault.num, [each.id[-4:] for each in fault.examples]) == (4000, ["3999", "3998", "3997"])


def test_a_run_that_was_killed_falls_silent(tmp_path):
    write_report(tmp_path)
    run = read_run(tmp_path, now=written(tmp_path) + SILENT_SECONDS + 1)
    assert (run.status, run.is_running, run.seconds_left) == ("silent", False, None)
    write_report(tmp_path, status="complete", num_pairs=10, num_waiting=0)
    assert read_run(tmp_path, now=written(tmp_path) + 9999).status == "complete"


def test_a_run_in_shares_is_one_run(tmp_path):
    write_report(tmp_path, num_pairs=0, num_waiting=0, failures={})
    (tmp_path / "shares.json").write_text("2")
    for number in range(2):
        write_report(tmp_path / f"share-000{number}", num_wanted=5)
        write_lines(tmp_path / f"share-000{number}" / "failures.jsonl", failure(number))
    (run,) = RunFolders().runs(str(tmp_path / f"share-000{number}" / "failures.jsonl") for number in range(2))
    assert (run.folder, run.num_pairs, run.num_wanted, run.num_calls, run.cost) == (tmp_path, 8, 10, 80, 3.0)
    assert {fault.reason: fault.num for fault in run.faults} == {"reply_empty": 2, "empty_reply": 2}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"status": "done"}', '{"status": 1, "num_wanted": {}}'])
def test_other_files_of_that_name_are_no_runs(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    assert read_run(tmp_path) is None


def test_the_pace_is_that_of_the_last_minutes(tmp_path, monkeypatch):
    monkeypatch.setattr("music.viewer.live._FOUND_SECONDS", -1)
    folders, files = RunFolders(), [str(tmp_path / "failures.jsonl")]
    for second, num in ((1000, 3), (1100, 53), (1200, 73)):
        write_report(tmp_path, num_pairs=num, num_waiting=0)
        os.utime(tmp_path / "run.json", (second, second))
        (run,) = folders.runs(files)
    assert run.pairs_per_second == pytest.approx(0.35)
    os.utime(tmp_path / "run.json", (1250, 1250))
    (run,) = folders.runs(files)
    assert run.pairs_per_second == pytest.approx(20 / 150)


def test_pages_of_several_runs(tmp_path, indexed, serve_index):
    for name, status in (("one", "stalled"), ("two", "running")):
        write_report(tmp_path / name, status=status, detail=PAYLOAD)
        write_lines(tmp_path / name / "failures.jsonl", failure(1, detail=PAYLOAD, text=PAYLOAD, reason=PAYLOAD))
    write_table(tmp_path / "one" / "pairs-00000.parquet", *map(pair_of, range(20)))
    os.utime(tmp_path / "one" / "run.json", (1000, 1000))
    url = serve_index(indexed(tmp_path))
    page = ask(url, "/live")[2]
    assert "<h1><bdi>two</bdi></h1>" in page
    assert "None yet." in page
    assert '<meta http-equiv="refresh" content="5">' in page
    assert ">Simulation running</a>: 4 of 10 pairs, 2 failed" in ask(url)[2]
    other = ask(url, f"/live?run={quote(str(tmp_path / 'one'))}")[2]
    assert "Run the same command again to resume it" in other
    assert other.count('class="record"') == 8
    assert "music-0-000001" in other
    assert "refresh" not in other
    assert PAYLOAD not in page + other
    for link in other.split('href="/record/')[1:]:
        assert ask(url, "/record/" + link.partition('"')[0].replace("&amp;", "&"))[0] == 200
    assert ask(url, "/live?run=/etc")[0] == 404


def test_files_without_a_run_have_no_live_page(folder, indexed, serve_index):
    url = serve_index(indexed(folder))
    assert ask(url, "/live")[0] == 404
    assert "Simulation" not in ask(url)[2]


def test_a_page_follows_a_real_run_to_its_end(tmp_path, browser):
    out = tmp_path / "run"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen([sys.executable, "-c", SIMULATE, str(out)], stdout=subprocess.PIPE, env=env) as run:
        try:
            os.waitpid(run.pid, os.WUNTRACED)  # it stopped
            with viewing(tmp_path) as (_, url), opened(browser) as page:
                page.goto(f"{url}/live")
                page.wait_for_selector(".record")
                num = int(page.get_attribute("progress", "value"))
                assert 5 <= num < 40
                assert page.title().startswith(f"{num}/40 running")
                os.kill(run.pid, signal.SIGCONT)
                page.wait_for_selector(".phase.complete")
                assert page.get_attribute("progress", "value") == "40"
                page.wait_for_selector("text=music-0-000039")
                assert page.locator(".record").count() == 8
                page.keyboard.press("j")
                page.keyboard.press("Enter")
                page.wait_for_selector("h1 >> text=music-0-000039")
                run.communicate(timeout=60)
        finally:
            run.kill()
    assert run.returncode == 0
    assert "num_waiting" not in json.loads((out / "run.json").read_text())
