import itertools
import json
import resource
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from music.conversation import Conversation
from music.errors import MusicError
from music.pairs import ContrastivePair, Usage
from music_agents.failures import MAX_TEXT, FailedPair, FailureReason, shown
from music_agents.output.failure_log import MAX_REOPENED, FailureLog, read_failures
from music_agents.output.pair_table import PairTable

NUM_PAIRS = 10
SHARD_SIZE = 3
BAD = {2, 3, 8}
"""Indices that fail until they are retried."""


def make_failure(index: int) -> FailedPair:
    return FailedPair(
        index=index, id=f"music-0-{index:06d}", seed_id="s", reason=FailureReason.REPLY_EMPTY, detail="empty"
    )


def make_pair(index: int, num_retries: int) -> ContrastivePair:
    asked = Conversation().user(f"request {index}, retry {min(num_retries, 1)}")
    return ContrastivePair(
        id=f"music-0-{index:06d}",
        chosen=asked.assistant("good"),
        rejected=asked.assistant("bad"),
        seed_id="s",
        num_seed_messages=0,
        contrasts=(),
        models={},
        usage=Usage(),
        seed=0,
    )


class Crash(BaseException):
    """The process dies here."""


def run(directory: Path) -> None:
    """Go on with a run whose pairs come to what their index and their number of retries say."""
    failures = FailureLog(directory / "failures.jsonl")
    table = PairTable(directory, SHARD_SIZE, failures.indices)
    num_missing = NUM_PAIRS - table.num_pairs
    indices = (index for index in itertools.count() if index not in table.ended)
    while num_missing:
        index = next(indices)
        num_retries = failures.num_retries(index)
        if index in BAD and num_retries == 0:
            failures.append([make_failure(index)])
            table.add(index, None)
        else:
            table.add(index, make_pair(index, num_retries))
            num_missing -= 1
    table.flush()
    failures.put_in_order()


def contents(directory: Path) -> dict[str, bytes]:
    private = {"retries.json", "manifest.json"}
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.name not in private}


@pytest.fixture
def whole(tmp_path):
    """A run with failures, and the same with its failures retried: what its files hold."""
    (tmp_path / "run").mkdir()
    run(tmp_path / "run")
    before = contents(tmp_path / "run")
    FailureLog(tmp_path / "run" / "failures.jsonl").retry()
    run(tmp_path / "run")
    return before, contents(tmp_path / "run")


def ids(directory: Path) -> list[int]:
    paths = sorted(directory.glob("*.parquet"))
    return [int(id_[-6:]) for path in paths for id_ in pq.read_table(path)["id"].to_pylist()]


def test_failures_are_found_by_the_next_session(tmp_path):
    path = tmp_path / "failures.jsonl"
    FailureLog(path).append([make_failure(4), make_failure(7)])
    log = FailureLog(path)
    log.append([make_failure(9)])
    assert log.indices == {4, 7, 9}
    assert log.reasons == {"reply_empty": 3}
    assert [json.loads(line)["index"] for line in path.read_text().splitlines()] == [4, 7, 9]


def test_the_last_line_of_an_index_counts_and_only_dropped_pairs_do(tmp_path):
    path = tmp_path / "failures.jsonl"
    log = FailureLog(path)
    log.append([replace(make_failure(index), dropped=False) for index in (9, 4, 7)], durable=False)
    log.append([make_failure(9), make_failure(4)])
    for again in (log, FailureLog(path)):
        assert (again.indices, again.reasons) == ({4, 9}, {"reply_empty": 2})
    assert {failure.index: failure.dropped for failure in read_failures(path)} == {9: True, 4: True, 7: False}
    log.put_in_order()
    assert [json.loads(line)["index"] for line in path.read_text().splitlines()] == [4, 9]


def test_what_a_run_stalled_with_is_taken_up_again_useless_replies_so_many_times(tmp_path):
    path = tmp_path / "failures.jsonl"
    down = replace(make_failure(6), reason=FailureReason.ENDPOINT_UNAVAILABLE)
    for time in range(1, 6):
        log = FailureLog(path)
        log.append([make_failure(2), make_failure(5), down])
        log.reopen([make_failure(5), down])
        assert log.indices == ({2} if time <= MAX_REOPENED else {2, 5})
        assert [log.num_retries(index) for index in (2, 5, 6)] == [0, min(time, MAX_REOPENED), 0]
        assert FailureLog(path).indices == log.indices
    assert {failure.index for failure in read_failures(path)} == {2, 5, 6}
    log.start_over()
    assert (log.indices, FailureLog(path).num_retries(5), read_failures(path)) == (frozenset(), 0, [])


def test_a_text_that_may_be_anything_is_bounded_and_printable():
    text = shown("\x1b[31m\x9b2Jred\n\ttab \ud800\u202e" + "x" * 5000)
    assert text.startswith("\ufffd[31m\ufffd2Jred\n\ttab \ufffd\ufffd")
    assert (len(text), text[-1]) == (MAX_TEXT + 1, "…")
    text.encode()


def test_a_torn_line_is_cut_off_and_a_wrong_one_refused(tmp_path):
    path = tmp_path / "failures.jsonl"
    FailureLog(path).append([make_failure(4)])
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:-10])
    assert FailureLog(path).indices == {4}
    assert path.read_bytes() == whole
    path.write_bytes(whole + b"{}\n")
    with pytest.raises(MusicError, match="expected one JSON object of a failed pair a line"):
        FailureLog(path)


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "failures.jsonl"
    log = FailureLog(path)
    log.append([make_failure(0)])
    whole = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 10, hard))
    try:
        with pytest.raises(MusicError, match="make room"):
            log.append([make_failure(1)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == whole
    assert log.indices == {0}
    log.append([make_failure(1)])
    assert FailureLog(path).indices == {0, 1}


def test_retried_pairs_take_their_places_in_the_order_of_indices(tmp_path):
    run(tmp_path)
    assert ids(tmp_path) == [0, 1, 4, 5, 6, 7, 9, 10, 11, 12]
    log = FailureLog(tmp_path / "failures.jsonl")
    log.retry()
    assert (log.indices, log.reasons) == (frozenset(), {})
    assert ids(tmp_path) == [0, 1]
    run(tmp_path)
    assert ids(tmp_path) == list(range(10))
    assert pq.read_table(tmp_path / "pairs-00000.parquet")["chosen"][2][0]["content"].as_py() == "request 2, retry 1"


def test_retries_are_remembered_when_later_sessions_do_not_retry(tmp_path):
    path = tmp_path / "failures.jsonl"
    for _ in range(2):
        log = FailureLog(path)
        log.append([make_failure(3)])
        log.retry()
    log.append([make_failure(5)])
    log.retry()
    log.retry()
    assert [FailureLog(path).num_retries(index) for index in (3, 4, 5)] == [2, 0, 1]
    (tmp_path / "retries.json").write_text("[]")
    with pytest.raises(MusicError, match=r"retries\.json: expected a JSON object of counts"):
        FailureLog(path)


def test_a_process_that_dies_while_it_prepares_a_retry_leaves_a_run_that_goes_on(tmp_path, whole, monkeypatch):
    without, retried = whole
    for num_steps in itertools.count():
        for retry_again in (False, True):
            directory = tmp_path / f"{num_steps}-{retry_again}"
            directory.mkdir()
            run(directory)
            log = FailureLog(directory / "failures.jsonl")
            with monkeypatch.context() as patch:
                died = die_after(num_steps, log, patch)
            if retry_again:
                FailureLog(directory / "failures.jsonl").retry()
            run(directory)
            assert contents(directory) == (without if died and not retry_again else retried)
        if not died:
            break
    assert num_steps == 7  # three shards deleted, the manifest, one shard cut, the counts, the failures


def die_after(num_steps: int, log: FailureLog, patch: pytest.MonkeyPatch) -> bool:
    """Retry, but die before the step after so many; return whether that came to pass."""
    steps = itertools.count()
    for name in ("replace", "unlink"):
        patch.setattr(Path, name, counted(getattr(Path, name), steps, num_steps))
    try:
        log.retry()
    except Crash:
        return True
    return False


def counted(step, steps, num_steps):
    def take(*args, **kwargs):
        if next(steps) == num_steps:
            raise Crash
        return step(*args, **kwargs)

    return take
