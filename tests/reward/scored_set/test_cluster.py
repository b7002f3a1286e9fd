"""The same set, scored by two workers of a Ray cluster of two nodes on loopback."""

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import psutil
import pytest

from music.errors import InvalidInputError
from music.ray_cluster import ray_cluster
from music.reward.scored_set import LocalWorkers, SetSettings, score_set
from music.reward.scored_set.cluster import _identify, _Worker, ray_workers

SETTINGS = SetSettings(part_rows=4)
NUM_PARTS = 15


@pytest.fixture(scope="module")
def address():
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray import cluster_utils

    # Loopback, but not 127.0.0.1: Ray takes that for whatever address the machine has to others.
    node = {"num_cpus": 1, "node_ip_address": "127.0.0.2"}
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    cluster.add_node(**node)
    yield cluster.address
    cluster.shutdown()


@pytest.fixture
def score_to(checkpoint, pair_folder):
    """Score the pairs, on a cluster if an address is given."""

    def score_to(out, address=None, **options):
        def open_workers():
            if address is None:
                return nullcontext(LocalWorkers(str(checkpoint), {}))
            return ray_workers(str(checkpoint), {}, address=address, **options)

        return score_set(str(pair_folder), out, open_workers, SETTINGS)

    return score_to


def kill_worker_in_part(out, known):
    """Kill a worker that is writing a part; the name of the incomplete file, which it leaves, holds its id."""
    while len(list(out.glob("part-*.parquet"))) < NUM_PARTS:
        for partial in set(out.glob(".part-*.partial")) - known:
            worker = psutil.Process(int(partial.name.split(".")[-2]))
            assert worker.name().startswith("ray::")
            worker.suspend()
            if partial.exists():
                worker.kill()
                worker.wait()
                return partial
            worker.resume()  # it was faster
        time.sleep(0.001)  # another process's progress: there is no event to wait for
    return None


def test_a_cluster_writes_what_one_process_does_though_the_driver_and_then_a_worker_die(
    checkpoint, pair_folder, tmp_path, start, score_to, rows_of, address, monkeypatch
):
    monkeypatch.setenv("RAY_ADDRESS", address)
    out = tmp_path / "out"
    process = start(checkpoint, pair_folder, "--out", out, "--part-rows", 4, "--ray", "--workers", 1)
    while not (done := {path: path.stat().st_ino for path in out.glob("part-*.parquet")}):
        assert process.poll() is None, process.communicate()
        time.sleep(0.001)
    process.kill()
    process.communicate()
    left_over = {*out.glob(".part-*.partial")}
    with ThreadPoolExecutor() as pool:
        killed = pool.submit(kill_worker_in_part, out, left_over)
        report = score_to(out, num_workers=2, address=address)
    assert killed.result().exists()
    assert len(done) < len(list(out.glob("part-*.parquet"))) == NUM_PARTS
    assert report == score_to(tmp_path / "alone")
    assert rows_of(out) == rows_of(tmp_path / "alone")
    assert {path: path.stat().st_ino for path in done} == done
    assert score_to(out) == report
    assert list(out.glob(".*.partial")) == []


def test_what_a_worker_cannot_read_is_returned_as_text(checkpoint, pair_folder, tmp_path, score_to):
    score_to(tmp_path / "out")
    (tmp_path / "out" / "part-00007.parquet").unlink()
    (pair_folder / "1.parquet").write_bytes(b"PAR1")
    worker = _Worker(str(checkpoint), {}, tmp_path / "out", os.getcwd())
    result = worker({"number": 7})
    assert result == {"num_rows": 0, "error": result["error"]}
    assert "1.parquet: expected it unchanged since the run was begun" in result["error"]


def test_a_part_in_which_workers_keep_dying_is_given_up(checkpoint, tmp_path, score_to):
    out = tmp_path / "out"
    score_to(out)
    (out / "part-00007.parquet").unlink()
    worker = _Worker(str(checkpoint), {}, out, os.getcwd())
    for pid in range(3):
        assert list(out.glob("part-00007*")) == []
        (out / f".part-00007.parquet.{pid}.partial").touch()
    assert "1.parquet, rows from 9: 3 workers died while they scored them" in worker({"number": 7})["error"]
    assert score_to(out).summary["num_rows"] == 60


def test_a_worker_with_another_model_or_without_the_folder_is_refused(checkpoint, tmp_path, score_to, edit_checkpoint):
    out = tmp_path / "out"
    score_to(out)
    other = edit_checkpoint(checkpoint, lambda weights: {name: weight * 1.01 for name, weight in weights.items()})
    with pytest.raises(InvalidInputError, match="it holds scores of another model"):
        _Worker(str(other), {}, out, os.getcwd())
    with pytest.raises(InvalidInputError, match=r"is not there for this worker: .* storage that all nodes see"):
        _Worker(str(checkpoint), {}, tmp_path / "elsewhere", os.getcwd())


def test_a_model_that_a_worker_cannot_load_is_returned_as_the_error(tmp_path):
    (tmp_path / "rm").mkdir()
    error = _identify(str(tmp_path / "rm"), {}, os.getcwd())
    assert isinstance(error, InvalidInputError)
    assert "rm: expected the folder of a model, but it holds no config.json" in str(error)


def test_an_address_without_a_cluster_is_refused():
    with pytest.raises(InvalidInputError, match="--ray: expected auto, local or the address"), ray_cluster("nowhere"):
        pass


def test_a_missing_ray_is_said_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InvalidInputError, match=r"pip install 'music-rm\[ray\]'"), ray_cluster(None):
        pass
