"""Runs in shares that stall: what is written down, and how they resume."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from music.llm.journal import ChangedSettingsError
from music_agents import RunStatus, SimulationStalledError, run_simulation
from music_agents.output.shard_folder import ShardError
from music_agents.progress import RunProgress
from music_agents.scaleout import ProcessWorkerPool, run_distributed

REPLY = {
    "model": "m",
    "choices": [{"message": {"role": "assistant", "content": "I would rather not."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 5},
}


class Useless(BaseHTTPRequestHandler):
    """Answers everything by the same words."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps(REPLY).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def useless_url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Useless)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def pool():
    pool = ProcessWorkerPool(2)
    yield pool
    asyncio.run(pool.__aexit__(None, None, None))


@asynccontextmanager
async def unseen(aggregate):
    yield


def run(config, directory, pool, **options):
    return asyncio.run(run_distributed(config, directory, pool, RunProgress(), display=unseen, **options))


def failures_of(directory):
    return [json.loads(line) for line in (directory / "failures.jsonl").read_text().splitlines()]


def played_by(config, **endpoints):
    return config.model_copy(update=endpoints | {"max_tries": 1})


def test_an_outage_is_written_down_and_uses_up_no_pair(pool, site, whole, output, tmp_path):
    gone = "m@http://127.0.0.1:9/v1"
    dead = played_by(site.config(), user=gone, assistant=gone, contrast=gone)
    for _ in range(2):
        with pytest.raises(SimulationStalledError, match="the last 20 pairs all failed"):
            run(dead, tmp_path, pool)
        failures = failures_of(tmp_path)
        assert {failure["index"] for failure in failures} == set(range(24))
        assert {(failure["reason"], failure["dropped"]) for failure in failures} == {("endpoint_unavailable", False)}
        assert json.loads((tmp_path / "run.json").read_bytes())["failures"] == {}
    assert run(site.config(), tmp_path, pool).status is RunStatus.COMPLETE
    assert output(tmp_path) == output(whole)


def test_a_run_without_pairs_may_go_on_with_another_strategy(pool, site, useless_url, output, tmp_path):
    settings = {"num_pairs": 60, "max_in_flight": 32}
    config = played_by(site.config(strategy={"instruction": 1}, **settings), contrast=f"m@{useless_url}")
    with pytest.raises(SimulationStalledError, match=r"the last 1\d\d pairs all failed.*--strategy forget,stale"):
        run(config, tmp_path / "run", pool)
    failures = failures_of(tmp_path / "run")
    assert len(failures) == 120
    assert {(failure["text"], failure["dropped"]) for failure in failures} == {("I would rather not.", False)}

    other = played_by(site.config(**settings), contrast=f"m@{useless_url}")
    before = site.num_requests()
    report = run(other, tmp_path / "run", pool)
    num_asked = site.num_requests() - before
    assert (report.status, report.num_pairs) == (RunStatus.COMPLETE, 60)
    assert report.settings["strategy"] == other.strategy
    before = site.num_requests()
    asyncio.run(run_simulation(other, tmp_path / "alone"))
    assert num_asked < site.num_requests() - before  # the chosen sides were answered before
    assert output(tmp_path / "run") == output(tmp_path / "alone")
    with pytest.raises(ChangedSettingsError, match="strategy"):
        run(config, tmp_path / "run", pool)


@pytest.mark.parametrize("place", ["", "share-0001"])
def test_a_damaged_shard_is_restored_by_the_advice(pool, site, output, tmp_path, place):
    config = site.config(shard_size=5)
    run(config, tmp_path, pool)
    before, num_asked = output(tmp_path), site.num_requests()
    shard = tmp_path / place / "pairs-00000.parquet"
    shard.write_bytes((tmp_path / "pairs-00001.parquet").read_bytes())
    with pytest.raises(ShardError, match=rf"{place}.*pairs-00000.parquet is damaged.*delete it"):
        run(config, tmp_path, pool)
    shard.unlink()
    assert run(config, tmp_path, pool).status is RunStatus.COMPLETE
    assert output(tmp_path) == before
    assert site.num_requests() == num_asked
