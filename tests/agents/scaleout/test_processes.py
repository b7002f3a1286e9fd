"""Runs in shares, in worker processes, against a real server; what they write is compared with one process's."""

import asyncio
import json
import signal
from contextlib import asynccontextmanager

import psutil
import pytest

from music.errors import InvalidInputError
from music_agents import RunStatus, run_simulation
from music_agents.progress import RunProgress
from music_agents.scaleout import PartitionFailedError, ProcessWorkerPool, run_distributed


class Shown:
    """A display that keeps the last figures."""

    def __init__(self) -> None:
        self.last = None

    @asynccontextmanager
    async def __call__(self, aggregate):
        yield
        self.last = aggregate.snapshot("end")


class SmallPool:
    """One worker out of a pool."""

    num_workers = 1

    def __init__(self, pool) -> None:
        self.run = pool.run


@pytest.fixture(scope="module")
def pool():
    """Two workers that stay on: starting them is what takes the time."""
    pool = ProcessWorkerPool(2)
    yield pool
    asyncio.run(pool.__aexit__(None, None, None))


def run(config, directory, pool, shown=None, **options):
    begun = run_distributed(config, directory, pool, RunProgress(), display=shown or Shown(), **options)
    return asyncio.run(begun)


def workers(process) -> list[psutil.Process]:
    children = psutil.Process(process.pid).children()
    return [child for child in children if any("spawn_main" in part for part in child.cmdline())]


def num_calls(directory) -> int:
    """Of a run to the server; the judge does without it."""
    accounts = json.loads((directory / "run.json").read_bytes())["spending"]["accounts"]
    return sum(account["num_calls"] for account in accounts if account["account"] != "judge")


def test_the_output_is_that_of_one_process(pool, site, alone, output, tmp_path):
    config, shown = site.config(shard_size=7), Shown()
    whole = alone(config)
    report = run(config, tmp_path, pool, shown)
    assert report.status is RunStatus.COMPLETE
    assert output(tmp_path) == output(whole)
    mine, theirs = (json.loads((directory / "run.json").read_bytes()) for directory in (tmp_path, whole))
    for changed in (mine, theirs):
        assert changed.pop("wall_seconds") > 0
        del changed["settings"]["share"]
    for spending in (mine["spending"], theirs["spending"]):
        spending["accounts"].sort(key=lambda row: row["account"])
    assert mine == theirs
    last = shown.last
    assert (last.num_pairs, last.num_calls, last.num_in_flight) == (24, theirs["spending"]["num_calls"], 0)
    assert last.failures == theirs["failures"]

    before = site.num_requests()
    more = site.config(shard_size=7, num_pairs=40)
    assert run(more, tmp_path, SmallPool(pool)).num_pairs == 40  # one worker does both partitions
    assert output(tmp_path) == output(alone(more))
    assert site.num_requests() - before == 2 * num_calls(tmp_path) - num_calls(whole)
    assert run(more, tmp_path, ProcessWorkerPool(3)).status is RunStatus.COMPLETE
    with pytest.raises(InvalidInputError, match="more than the 24 wanted"):
        run(config, tmp_path, pool)


def test_failed_pairs_are_tried_again_as_in_one_process(pool, site, output, tmp_path):
    config = site.config()
    for directory in (tmp_path / "one", tmp_path / "two"):
        for retry_failed in (False, True):
            if directory.name == "one":
                asyncio.run(run_simulation(config, directory, retry_failed=retry_failed))
            else:
                run(config, directory, pool, retry_failed=retry_failed)
    assert output(tmp_path / "two") == output(tmp_path / "one")


def test_the_budget_holds_for_the_whole_run(pool, site, whole, output, tmp_path):
    num_tokens = json.loads((whole / "run.json").read_bytes())["spending"]["num_tokens"]
    bound = num_tokens // 2
    report = run(site.config(max_total_tokens=bound), tmp_path, pool)
    assert report.status is RunStatus.BUDGET
    assert "of --max-total-tokens" in report.detail
    assert bound <= report.spending.num_tokens <= bound + site.in_flight * 1000
    assert 0 < report.num_pairs < 24
    assert run(site.config(max_total_tokens=bound), tmp_path, pool).spending == report.spending
    # Just enough: what one share leaves over, the other may spend.
    assert run(site.config(max_total_tokens=num_tokens + 1), tmp_path, pool).status is RunStatus.COMPLETE
    assert output(tmp_path) == output(whole)


def test_another_price_later_leaves_what_is_spent_as_it_is(pool, site, tmp_path):
    first = run(site.config(num_pairs=6, prices=["m=100:100"]), tmp_path, pool)
    charged = [row for row in first.spending.accounts if row.account != "judge"]  # which is free
    num_tokens = sum(row.prompt_tokens + row.completion_tokens for row in charged)
    assert first.spending.cost == pytest.approx(1e-4 * num_tokens)
    again = run(site.config(num_pairs=6, prices=["m=900:900"]), tmp_path, pool)
    assert again.spending == first.spending
    more = run(site.config(num_pairs=8, prices=["m=0:0"], max_cost=9.0), tmp_path, pool)
    assert more.spending.cost == first.spending.cost
    assert more.spending.num_tokens > first.spending.num_tokens


def test_workers_share_a_cache_with_each_other_and_with_other_runs(pool, site, whole, output, tmp_path):
    config = site.config().model_copy(update={"cache": tmp_path / "cache.sqlite"})
    first = run(config, tmp_path / "first", pool)
    before = site.num_requests()
    again = run(config, tmp_path / "again", pool)
    assert output(tmp_path / "first") == output(tmp_path / "again") == output(whole)
    assert site.num_requests() == before
    assert (again.spending.num_calls, again.spending.num_tokens) == (0, 0)
    paid_and_reused = first.spending.num_calls + first.spending.sum("num_reused")
    assert again.spending.sum("num_reused") == paid_and_reused > 0


def test_a_run_stays_what_it_was_begun_as(pool, site, whole, tmp_path):
    with pytest.raises(InvalidInputError, match="begun in one process"):
        run(site.config(), whole, pool)
    (tmp_path / "shares.json").write_text('{"num_shares": 2}')
    config = site.config()
    with pytest.raises(InvalidInputError, match="begun in shares"):
        asyncio.run(run_simulation(config, tmp_path))


def test_what_a_worker_cannot_do_is_said_and_ends_the_run(pool, site, tmp_path):
    graph = tmp_path / "graph.py"
    graph.write_text("def build(casting):\n    raise ZeroDivisionError('in the graph')\n")
    config = site.config().model_copy(update={"graph": f"{graph}:build"})
    with pytest.raises(PartitionFailedError, match=r"(?s)share \d of 2: .*ZeroDivisionError: in the graph"):
        run(config, tmp_path / "run", pool)
    assert json.loads((tmp_path / "run" / "run.json").read_bytes())["status"] == "interrupted"


def test_ctrl_c_ends_all_workers_in_order(site, whole, output, finished, tmp_path):
    before, calls = site.num_requests(), num_calls(whole)
    process = site.start(tmp_path, "--processes=2", "--json")
    site.wait_for_requests(before + calls // 2, process)
    process.send_signal(signal.SIGINT)
    code, out, err = finished(process)
    assert code == 130, err
    assert json.loads(out)["status"] == "interrupted"
    (end,) = (json.loads(line) for line in err.splitlines() if line.startswith('{"event":"end"'))
    assert end["stop_reason"] == "user"
    assert "Traceback" not in err
    code, out, err = site.run(tmp_path)  # without --processes, in the same shares
    assert code == 0, err
    assert output(tmp_path) == output(whole)
    assert site.num_requests() - before == calls + 2  # each session asks the endpoint once before its pairs


def test_kill_9_of_workers_and_coordinator(site, whole, output, finished, tmp_path):
    before, calls = site.num_requests(), num_calls(whole)
    process = site.start(tmp_path, "--processes=2")
    site.wait_for_requests(before + calls // 3, process)
    workers(process)[1].kill()
    code, _, err = finished(process)
    assert code == 1
    assert "share 1 of 2: its process was killed by SIGKILL" in err
    assert "Traceback" not in err

    process = site.start(tmp_path, "--processes=2")
    site.wait_for_requests(before + 2 * calls // 3, process)
    orphans = workers(process)
    process.kill()
    finished(process)
    _, alive = psutil.wait_procs(orphans, timeout=60)
    assert not alive

    code, _, err = site.run(tmp_path, "--processes=2")
    assert code == 0, err
    assert output(tmp_path) == output(whole)
    # A probe in each of three sessions; the second may be killed before it sends one.
    assert calls + 2 <= site.num_requests() - before <= calls + 3 + site.in_flight
