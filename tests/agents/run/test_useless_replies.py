"""Runs whose replies are of no use: what is written down, what is asked again, and when going on is given up."""

import asyncio
import json

import pyarrow.parquet as pq
import pytest

from music.llm.chat import ChatReply, EndpointUnavailableError, ReplyOutcome
from music.llm.journal import ChangedSettingsError
from music.prompts import PromptKind
from music_agents import RunStatus, SimulationStalledError
from music_agents.output.failure_log import MAX_REOPENED
from music_agents.progress import RunProgress
from music_agents.stall_detection import MAX_UNANSWERED, MAX_USELESS

HOSTILE = "\x1b[2J" + "<modified> " * 1000
SMALL = {"num_pairs": 4, "num_turns": 1, "max_in_flight": 8}


@pytest.fixture
def unparsed(plain):
    """Contrasts that cannot be read before an attempt, in the pairs that a rule picks."""

    def make(before=10**6, picked=lambda index: True):
        def answer(part, conversation, request):
            useless = part is PromptKind.INSTRUCTION and picked(int(request.route))
            return HOSTILE if useless and int(request.key.rpartition("/")[2]) < before else plain(part, None, request)

        return answer

    return make


def failures_of(directory):
    return [json.loads(line) for line in (directory / "failures.jsonl").read_text().splitlines()]


def report_of(directory):
    return json.loads((directory / "run.json").read_bytes())


def keys_of(*models):
    keys = [request.key for model in models for request in model.requests]
    assert len(keys) == len(set(keys))  # nothing is paid for twice
    return keys


async def stall(run, directory, seeds, model, **settings):
    with pytest.raises(SimulationStalledError) as caught:
        await run(directory, seeds, model, **(SMALL | settings))
    assert report_of(directory)["status"] == "stalled"
    return str(caught.value)


async def test_a_run_that_useless_replies_stalled_asks_again_and_comes_to_its_end(
    tmp_path, fake_model, unparsed, seeds, run, shards
):
    first, second = fake_model(unparsed(before=4)), fake_model(unparsed(before=4))
    told = await stall(run, tmp_path, seeds, first)
    assert f"the last {MAX_USELESS} pairs all failed" in told
    assert "--strategy forget,stale" in told
    assert f"{tmp_path / 'failures.jsonl'} lists what failed, with the replies; no pair is there yet, so" in told
    assert "so --strategy and --schedule may still change; what else changes the pairs needs another --out" in told
    assert report_of(tmp_path)["failures"] == {}
    report = await run(tmp_path, seeds, second, **SMALL)
    assert (report.status, report.num_pairs, report.failures) == (RunStatus.COMPLETE, 4, {})
    assert [row["id"][-6:] for row in pq.read_table(tmp_path / "pairs-00000.parquet").to_pylist()] == [
        "000000",
        "000001",
        "000002",
    ]
    assert len(keys_of(first, second)) == report.spending.num_calls
    assert "0/rejected/0/assistant/3" in {request.key for request in second.requests}
    before, third = shards(tmp_path), fake_model()
    for name in before:
        (tmp_path / name).unlink()
    await run(tmp_path, seeds, third, **SMALL)  # and the attempts of each index are on record
    assert (shards(tmp_path), third.requests) == (before, [])


async def test_every_failure_is_written_with_what_was_replied(tmp_path, fake_model, unparsed, seeds, run):
    await stall(run, tmp_path, seeds, fake_model(unparsed()))
    failures = failures_of(tmp_path)
    assert len(failures) == MAX_USELESS
    for failure in failures:
        assert (failure["role"], failure["side"], failure["turn"]) == ("contrast", "rejected", 0)
        assert failure["attempts"] == ["reply_unparsed"] * 3
        assert failure["text"].startswith("\ufffd[2J<modified> <modified>")
        assert len(failure["text"]) == 2001
        assert failure["dropped"] is False


async def test_a_run_that_stalls_again_and_again_never_repeats_a_session(tmp_path, fake_model, unparsed, seeds, run):
    models = []
    for session in range(MAX_REOPENED + 2):
        models.append(fake_model(unparsed()))
        await stall(run, tmp_path, seeds, models[-1])
        keys = keys_of(*models)
        attempts = {int(key.rpartition("/")[2]) for key in keys if key.startswith("0/rejected/0/assistant")}
        assert attempts == set(range(3 * min(session + 1, MAX_REOPENED + 1)))
    # What was tried often enough stays dropped, and the indices behind it have their turn.
    assert report_of(tmp_path)["failures"]["reply_unparsed"] >= MAX_USELESS
    assert min(int(request.route) for request in models[-1].requests) >= MAX_USELESS
    assert {failure["index"] for failure in failures_of(tmp_path) if failure["dropped"]} == set(range(MAX_USELESS))


async def test_one_good_pair_in_sixty_is_slow_and_not_stalled(tmp_path, fake_model, unparsed, seeds, run):
    settings = SMALL | {"num_pairs": 2}
    model = fake_model(unparsed(picked=lambda index: index % 60 != 59))
    report = await run(tmp_path, seeds, model, **settings)
    assert (report.status, report.num_pairs, report.failures) == (RunStatus.COMPLETE, 2, {"reply_unparsed": 118})
    assert [failure["index"] for failure in failures_of(tmp_path)] == [n for n in range(120) if n % 60 != 59]


async def test_patience_grows_with_what_a_good_pair_takes(tmp_path, fake_model, unparsed, seeds, run):
    """Where one pair in fifteen comes out well, 120 that fail are bad luck; 150 are not."""
    settings = SMALL | {"num_pairs": 2, "max_in_flight": 1}
    lucky = fake_model(unparsed(picked=lambda index: index not in {15, 136}))
    assert (await run(tmp_path / "lucky", seeds, lucky, **settings)).num_pairs == 2
    dry = fake_model(unparsed(picked=lambda index: index != 15))
    told = await stall(run, tmp_path / "dry", seeds, dry, **settings)
    assert "the last 150 pairs all failed, 100 of the latest 100 by reply_unparsed" in told
    assert "No pair is there yet" not in told
    (row,) = pq.read_table(tmp_path / "dry" / "pairs-00000.parquet").to_pylist()
    assert row["id"] == "music-0-000015"
    # What failed before the good pair stays dropped, as its row depends on it.
    dropped = {failure["index"] for failure in failures_of(tmp_path / "dry") if failure["dropped"]}
    assert dropped == set(range(15))


async def test_failures_that_are_only_replayed_do_not_count(tmp_path, fake_model, unparsed, seeds, run):
    """As after a power cut, which the journal survives and the list of failures may not."""
    first, second = fake_model(unparsed()), fake_model(unparsed(picked=lambda index: index < MAX_USELESS))
    await stall(run, tmp_path, seeds, first)
    for name in ("failures.jsonl", "retries.json"):
        (tmp_path / name).unlink()
    report = await run(tmp_path, seeds, second, **SMALL)
    assert (report.status, report.failures) == (RunStatus.COMPLETE, {"reply_unparsed": MAX_USELESS})
    keys_of(first, second)


async def test_a_role_that_fails_without_asking_anybody_stalls_too(tmp_path, seeds, run, fake_model):
    from music_agents import RoleFailedError, build_pair_graph

    async def silent(view):
        raise RoleFailedError("nothing to say")

    def graph(roles):
        from dataclasses import replace

        return build_pair_graph(replace(roles, user=silent))

    await stall(run, tmp_path, seeds, fake_model(), graph=graph)


async def test_an_outage_is_written_down_and_uses_up_no_pair(tmp_path, fake_model, plain, seeds, run, shards):
    settings = {"num_pairs": 30, "max_in_flight": 5}
    await run(tmp_path / "whole", seeds, fake_model(), **settings)
    num_seen = 0

    def dies(part, conversation, request):
        nonlocal num_seen
        num_seen += 1
        if num_seen > 100:
            raise EndpointUnavailableError("connection refused")
        return plain(part, conversation, request)

    with pytest.raises(SimulationStalledError, match=r"connection refused\)\. See the server's log; ") as caught:
        await run(tmp_path / "cut", seeds, fake_model(dies), **settings)
    assert str(caught.value).endswith(f"Then run again. {tmp_path / 'cut' / 'failures.jsonl'} lists what failed")
    failures = failures_of(tmp_path / "cut")
    assert len(failures) == MAX_UNANSWERED
    assert {(failure["reason"], failure["dropped"]) for failure in failures} == {("endpoint_unavailable", False)}
    assert not (tmp_path / "cut" / "retries.json").exists()  # an endpoint's fault is no attempt
    report = await run(tmp_path / "cut", seeds, fake_model(), **settings)
    assert (report.status, report.failures) == (RunStatus.COMPLETE, {})
    assert shards(tmp_path / "cut") == shards(tmp_path / "whole")
    assert failures_of(tmp_path / "cut") == []


async def test_failures_are_on_disk_while_the_run_goes_on_and_stay_when_it_is_stopped(
    tmp_path, fake_model, failing, plain, seeds, run
):
    progress, written = RunProgress(), []

    def answer(part, conversation, request):
        if int(request.route) == 3:  # no pair has come out well since
            written.extend(failures_of(tmp_path))
            progress.stop()
        return failing({1, 2})(part, conversation, request)

    report = await run(tmp_path, seeds, fake_model(answer), progress, max_in_flight=1)
    assert report.status is RunStatus.INTERRUPTED
    assert [failure["index"] for failure in written] == [1, 2]
    assert [failure["index"] for failure in failures_of(tmp_path)] == [1, 2]


async def test_what_a_gate_dropped_is_written_with_its_place(tmp_path, fake_model, plain, seeds, run):
    def answer(part, conversation, request):
        bad = part is PromptKind.ASSISTANT and request.route == "1" and "/1/" in request.key
        return "User: I take both parts.\nAssistant: Indeed." if bad else plain(part, conversation, request)

    report = await run(tmp_path, seeds, fake_model(answer), gates=True, num_pairs=3)
    assert report.failures == {"gate_format": 1}
    (failure,) = failures_of(tmp_path)
    assert (failure["side"], failure["turn"]) == ("chosen", 1)
    assert failure["text"] == "User: I take both parts.\nAssistant: Indeed."


async def test_cut_and_thinking_replies_keep_their_text(tmp_path, fake_model, plain, seeds, run):
    def answer(part, conversation, request):
        if part is PromptKind.ASSISTANT and request.route == "0":
            return ChatReply(text="", thinking="Let me see", outcome=ReplyOutcome.THOUGHT, model="fake")
        return plain(part, conversation, request)

    await run(tmp_path, seeds, fake_model(answer), **SMALL)
    (failure,) = failures_of(tmp_path)
    assert (failure["reason"], failure["text"]) == ("reply_thought", "Let me see")


class TestAnotherStrategy:
    async def test_without_pairs_it_may_take_over_and_reuses_what_does_not_depend_on_it(
        self, tmp_path, fake_model, unparsed, seeds, run, shards
    ):
        await run(tmp_path / "whole", seeds, fake_model(), strategy={"forget": 1.0}, **SMALL)
        first, second = fake_model(unparsed()), fake_model(unparsed())
        await stall(run, tmp_path / "run", seeds, first)
        report = await run(tmp_path / "run", seeds, second, strategy={"forget": 1.0}, **SMALL)
        assert report.status is RunStatus.COMPLETE
        assert shards(tmp_path / "run") == shards(tmp_path / "whole")
        assert report.settings["strategy"] == {"forget": 1.0}
        # What was answered on the chosen side is not asked again; what was paid for stays paid for.
        assert not {request.key for request in first.requests if "/chosen/" in request.key} & {
            request.key for request in second.requests
        }
        assert report.spending.num_calls == len(first.requests) + len(second.requests)
        assert all(failure["dropped"] for failure in failures_of(tmp_path / "run"))

    async def test_with_pairs_it_is_refused(self, tmp_path, fake_model, seeds, run):
        await run(tmp_path, seeds, fake_model(), **SMALL)
        with pytest.raises(ChangedSettingsError, match="strategy"):
            await run(tmp_path, seeds, fake_model(), strategy={"forget": 1.0}, **SMALL)

    async def test_in_a_graph_of_ones_own_nothing_is_reused(self, tmp_path, fake_model, unparsed, seeds, run):
        from music_agents import build_pair_graph

        def graph(roles):
            return build_pair_graph(roles)

        first, second = fake_model(unparsed()), fake_model()
        await stall(run, tmp_path, seeds, first, graph=graph)
        await run(tmp_path, seeds, second, graph=graph, strategy={"forget": 1.0}, **SMALL)
        assert {"0/chosen/0/user/0", "0/chosen/0/assistant/0"} <= {request.key for request in second.requests}


async def test_pairs_are_on_disk_soon_after_they_end(tmp_path, fake_model, seeds, run, shards, monkeypatch):
    """The shard that grows is read while the run waits for a slow pair."""
    from music_agents.output.pair_table import PairTable

    flushed, flush = asyncio.Event(), PairTable.flush

    def note(table):
        flush(table)
        if table.num_pairs == 5:
            flushed.set()

    class Slow(fake_model):
        async def complete(self, request):
            if request.route == "5":
                await flushed.wait()
                assert pq.read_table(tmp_path / "run" / "pairs-00000.parquet").num_rows == 5
            return await super().complete(request)

    monkeypatch.setattr(PairTable, "flush", note)
    monkeypatch.setattr("music_agents.run.session.FLUSH_SECONDS", 0.0)
    monkeypatch.setattr("music_agents.run.session.FLUSH_SHARE", 0)
    report = await asyncio.wait_for(run(tmp_path / "run", seeds, Slow(), shard_size=100), 60)
    assert report.status is RunStatus.COMPLETE
    monkeypatch.undo()
    await run(tmp_path / "whole", seeds, fake_model(), shard_size=100)
    assert shards(tmp_path / "run") == shards(tmp_path / "whole")


@pytest.mark.parametrize("damage", ["cut", "swap", "exchange", "delete"])
async def test_a_shard_that_is_not_this_runs_is_restored_by_the_advice(
    tmp_path, fake_model, failing, seeds, run, shards, damage
):
    from music_agents.output.shard_folder import ShardError

    directory, other = tmp_path / "run", tmp_path / "other"
    await run(directory, seeds, fake_model(failing({2})))
    await run(other, seeds[1:], fake_model(failing({2})))
    whole = shards(directory)
    first, second = directory / "pairs-00000.parquet", directory / "pairs-00001.parquet"
    if damage == "cut":
        first.write_bytes(first.read_bytes()[:-20])
    elif damage == "swap":
        first.write_bytes((other / first.name).read_bytes())
    elif damage == "exchange":
        content = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(content)
    if damage != "delete":
        with pytest.raises(ShardError, match="delete it, and running the same command again restores it"):
            await run(directory, seeds, fake_model(failing({2})))
    first.unlink()
    model = fake_model(failing({2}))
    report = await run(directory, seeds, model)
    assert (report.status, shards(directory), model.requests) == (RunStatus.COMPLETE, whole, [])
