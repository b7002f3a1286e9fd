"""Failed pairs, tried again on request."""

import json

import pytest

from music.prompts import PromptKind
from music_agents import RunStatus
from music_agents.progress import RunProgress


@pytest.fixture
def stubborn(plain):
    """Contrasts of some pairs that can be read from the fourth attempt on."""

    def answer(part, conversation, request):
        if request.route in {"1", "5"} and part is PromptKind.INSTRUCTION and int(request.key.rpartition("/")[2]) < 3:
            return "not in the format"
        return plain(part, conversation, request)

    return answer


def ids(directory):
    import pyarrow.parquet as pq

    return [
        int(id_[-6:]) for path in sorted(directory.glob("*.parquet")) for id_ in pq.read_table(path)["id"].to_pylist()
    ]


async def test_pairs_that_come_out_well_take_their_place_in_the_order(
    tmp_path, fake_model, stubborn, seeds, run, shards
):
    first, second = fake_model(stubborn), fake_model(stubborn)
    report = await run(tmp_path, seeds, first)
    assert (report.failures, ids(tmp_path)) == ({"reply_unparsed": 2}, [0, 2, 3, 4, 6, 7, 8, 9])
    report = await run(tmp_path, seeds, second, retry_failed=True)
    assert (report.status, report.failures, ids(tmp_path)) == (RunStatus.COMPLETE, {}, list(range(8)))
    assert (tmp_path / "failures.jsonl").read_bytes() == b""
    assert report.retries == {"contrast:reply_unparsed": 2 * 2 * 3}  # pairs, turns, useless attempts
    # New attempts where the old ones were of no use; and not one reply is paid for again.
    keys = [request.key for request in (*first.requests, *second.requests)]
    assert len(keys) == len(set(keys)) == report.spending.num_calls
    assert {request.route for request in second.requests} == {"1", "5"}
    assert second.requests[0].key == "1/rejected/0/assistant/3"
    await later_sessions_give_the_same(tmp_path, fake_model(stubborn), seeds, run, shards)


async def later_sessions_give_the_same(directory, model, seeds, run, shards):
    """Whatever is lost is made again from the journal, the retried pairs included."""
    before = shards(directory)
    for num_left in range(len(before)):
        for name in list(before)[num_left:]:
            (directory / name).unlink()
        report = await run(directory, seeds, model)
        assert (report.status, shards(directory), model.requests) == (RunStatus.COMPLETE, before, [])


async def test_where_nothing_failed_there_is_nothing_to_retry(tmp_path, fake_model, seeds, run, shards):
    await run(tmp_path, seeds, fake_model())
    before = shards(tmp_path)
    model = fake_model()
    report = await run(tmp_path, seeds, model, retry_failed=True)
    assert (report.status, shards(tmp_path), model.requests) == (RunStatus.COMPLETE, before, [])


async def test_a_pair_that_fails_again_stays_out(tmp_path, fake_model, failing, seeds, run, shards):
    await run(tmp_path, seeds, fake_model(failing({1})))
    before = shards(tmp_path)
    for time in (1, 2):  # each time with as many attempts more
        model = fake_model(failing({1}))
        report = await run(tmp_path, seeds, model, retry_failed=True)
        assert (report.status, report.failures) == (RunStatus.COMPLETE, {"reply_unparsed": 1})
        attempts = range(3 * time, 3 * time + 3)
        assert [request.key for request in model.requests] == [f"1/rejected/0/assistant/{n}" for n in attempts]
        assert shards(tmp_path) == before
    assert len((tmp_path / "failures.jsonl").read_bytes().splitlines()) == 1


async def test_a_retry_that_is_stopped_goes_on_without_the_flag(tmp_path, fake_model, stubborn, seeds, run, shards):
    for name in ("whole", "cut"):
        await run(tmp_path / name, seeds, fake_model(stubborn))
    await run(tmp_path / "whole", seeds, fake_model(), retry_failed=True)
    progress, num_seen = RunProgress(), 0

    def stop_soon(part, conversation, request):
        nonlocal num_seen
        num_seen += 1
        if num_seen == 5:
            progress.stop()
        return stubborn(part, conversation, request)

    report = await run(tmp_path / "cut", seeds, fake_model(stop_soon), progress, retry_failed=True)
    assert report.status is RunStatus.INTERRUPTED
    report = await run(tmp_path / "cut", seeds, fake_model(stubborn))
    assert (report.status, report.failures, ids(tmp_path / "cut")) == (RunStatus.COMPLETE, {}, list(range(8)))
    counts = [json.loads((tmp_path / name / "retries.json").read_bytes()) for name in ("whole", "cut")]
    assert counts == [{"1": 1, "5": 1}] * 2
