import json

import pytest

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.llm.chat import EndpointUnavailableError
from music.llm.journal import ChangedSettingsError, Journal
from music.pairs import ContrastivePair
from music_agents import RunStatus, SimulationStalledError
from music_agents.progress import RunProgress


async def test_a_run_leaves_what_it_promises(tmp_path, fake_model, seeds, run, failing):
    report = await run(tmp_path, seeds, fake_model(failing({1, 5})))
    assert report.status is RunStatus.COMPLETE
    assert (report.num_pairs, report.failures) == (8, {"reply_unparsed": 2})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "README.md",
        "failures.jsonl",
        "journal.sqlite",
        "manifest.json",
        "pairs-00000.parquet",
        "pairs-00001.parquet",
        "pairs-00002.parquet",
        "run.json",
    ]
    written = json.loads((tmp_path / "run.json").read_bytes())
    assert written == report.model_dump(mode="json", exclude={"num_waiting"})
    assert written["settings"]["strategy"] == {"instruction": 1.0}
    assert written["settings"]["models"] == {"user": "fake", "assistant": "fake", "contrast": "fake"}
    assert (written["judge"], written["retries"], written["diagnostics"]["num_pairs"]) == (None, {}, 8)
    # 8 pairs of 7 calls; each failed one spoke for the user and the assistant, and tried its contrast 3 times
    num_calls = {row["account"]: row["num_calls"] for row in written["spending"]["accounts"]}
    assert num_calls == {"user": 24 + 2, "assistant": 16 + 2, "contrast": 16 + 2 * 3}
    assert (written["spending"]["num_calls"], written["spending"]["num_tokens"]) == (66, 11 * 66)
    failures = [json.loads(line) for line in (tmp_path / "failures.jsonl").read_text().splitlines()]
    assert {failure["index"] for failure in failures} == {1, 5}
    assert {failure["id"] for failure in failures} == {"music-0-000001", "music-0-000005"}


async def test_datasets_reads_the_output(tmp_path, fake_model, seeds, run):
    import datasets

    await run(tmp_path / "run", seeds, fake_model())
    files = str(tmp_path / "run" / "*.parquet")
    rows = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert len(rows) == 8
    row = rows[0]
    assert row["chosen"][0] == {"role": "user", "content": row["chosen"][0]["content"]}
    assert [contrast["turn"] for contrast in row["contrasts"]] == [0, 1]
    sides = {side: Conversation.from_messages(row.pop(side)) for side in ("chosen", "rejected")}
    assert ContrastivePair(**row, **sides).num_seed_messages >= 2


async def test_content_does_not_depend_on_concurrency(tmp_path, fake_model, seeds, run, shards, failing):
    contents = []
    for max_in_flight in (1, 4, 64):
        directory = tmp_path / str(max_in_flight)
        await run(directory, seeds, fake_model(failing({0, 7})), max_in_flight=max_in_flight)
        contents.append(shards(directory))
    assert contents[0] == contents[1] == contents[2]


async def test_a_stopped_run_goes_on_and_pays_for_nothing_twice(tmp_path, fake_model, seeds, run, shards, failing):
    await run(tmp_path / "whole", seeds, fake_model(failing({2})))
    progress = RunProgress()
    num_seen = 0

    def stop_midway(part, conversation, request):
        nonlocal num_seen
        num_seen += 1
        if num_seen == 40:
            progress.stop()
        return failing({2})(part, conversation, request)

    first = fake_model(stop_midway)
    report = await run(tmp_path / "cut", seeds, first, progress, max_in_flight=4)
    assert report.status is RunStatus.INTERRUPTED
    assert report.spending.num_calls == len(first.requests) < 50
    second = fake_model(failing({2}))
    report = await run(tmp_path / "cut", seeds, second)
    assert report.status is RunStatus.COMPLETE
    assert shards(tmp_path / "cut") == shards(tmp_path / "whole")
    keys = [request.key for request in (*first.requests, *second.requests)]
    assert len(keys) == len(set(keys)) == report.spending.num_calls


async def test_a_complete_run_asks_nothing_more(tmp_path, fake_model, seeds, run, shards):
    await run(tmp_path, seeds, fake_model())
    before = shards(tmp_path)
    model, progress = fake_model(), RunProgress()
    report = await run(tmp_path, seeds, model, progress)
    assert (report.status, report.num_pairs, model.requests) == (RunStatus.COMPLETE, 8, [])
    assert progress.num_earlier == progress.num_wanted == 8
    assert shards(tmp_path) == before


async def test_more_pairs_extend_a_run_to_what_it_would_have_been(tmp_path, fake_model, seeds, run, shards, failing):
    await run(tmp_path / "whole", seeds, fake_model(failing({4, 9})), num_pairs=11)
    await run(tmp_path / "grown", seeds, fake_model(failing({4, 9})), num_pairs=5)
    report = await run(tmp_path / "grown", seeds, fake_model(failing({4, 9})), num_pairs=11)
    assert (report.num_pairs, report.num_wanted) == (11, 11)
    assert shards(tmp_path / "grown") == shards(tmp_path / "whole")
    with pytest.raises(InvalidInputError, match="holds 11 pairs already, more than the 7 wanted"):
        await run(tmp_path / "grown", seeds, fake_model(), num_pairs=7)


async def test_failures_are_not_tried_again(tmp_path, fake_model, seeds, run, failing):
    await run(tmp_path, seeds, fake_model(failing({0})), num_pairs=3)
    report = await run(tmp_path, seeds, fake_model(), num_pairs=5)
    assert report.failures == {"reply_unparsed": 1}
    assert "music-0-000000" in (tmp_path / "failures.jsonl").read_text()


async def test_a_run_that_stalled_on_a_dead_endpoint_tries_the_same_pairs_again(
    tmp_path, fake_model, plain, seeds, run, shards
):
    await run(tmp_path / "whole", seeds, fake_model(), num_pairs=60)
    num_seen = 0

    def dies(part, conversation, request):
        nonlocal num_seen
        num_seen += 1
        if num_seen > 100:
            raise EndpointUnavailableError("connection refused")
        return plain(part, conversation, request)

    with pytest.raises(SimulationStalledError, match="connection refused"):
        await run(tmp_path / "cut", seeds, fake_model(dies), num_pairs=60, max_in_flight=5)
    report = json.loads((tmp_path / "cut" / "run.json").read_bytes())
    assert (report["status"], report["failures"]) == ("stalled", {})
    assert report["num_pairs"] > 5
    report = await run(tmp_path / "cut", seeds, fake_model(), num_pairs=60)
    assert (report.status, report.failures) == (RunStatus.COMPLETE, {})
    assert shards(tmp_path / "cut") == shards(tmp_path / "whole")


async def test_changed_settings_are_refused_with_what_changed(tmp_path, fake_model, seeds, run):
    await run(tmp_path, seeds, fake_model())
    other = fake_model()
    other.name = "another model"
    with pytest.raises(ChangedSettingsError) as caught:
        await run(tmp_path, seeds[:-1], other, num_turns=3)
    message = str(caught.value)
    assert "num_turns: 2 -> 3" in message
    assert 'assistant: "fake" -> "another model"' in message
    assert "seed_pairs" in message
    assert "strategy" not in message
    await run(tmp_path, seeds, fake_model(), max_in_flight=1)


async def test_pairs_without_their_journal_are_refused(tmp_path, fake_model, seeds, run):
    await run(tmp_path, seeds, fake_model())
    (tmp_path / "journal.sqlite").unlink()
    with pytest.raises(InvalidInputError, match="no journal"):
        await run(tmp_path, seeds, fake_model())


async def test_torn_files_of_a_crash_are_put_right(tmp_path, fake_model, seeds, run, shards, failing):
    await run(tmp_path / "whole", seeds, fake_model(failing({1})))
    directory = tmp_path / "cut"
    await run(directory, seeds, fake_model(failing({1})), num_pairs=6)
    with (directory / "failures.jsonl").open("ab") as file:
        file.write(b'{"index": 3, "rea')
    (directory / "pairs-00002.parquet.tmp").write_bytes(b"PAR1")
    report = await run(directory, seeds, fake_model())
    assert report.failures == {"reply_unparsed": 1}
    assert shards(directory) == shards(tmp_path / "whole")
    assert len((directory / "failures.jsonl").read_bytes().splitlines()) == 1


async def test_a_lost_shard_at_the_end_is_restored_from_the_journal(tmp_path, fake_model, seeds, run, shards):
    await run(tmp_path, seeds, fake_model())
    before = shards(tmp_path)
    (tmp_path / "pairs-00002.parquet").unlink()
    model = fake_model()
    await run(tmp_path, seeds, model)
    assert shards(tmp_path) == before
    assert model.requests == []


async def test_keys_are_those_of_the_pair_its_side_turn_part_and_attempt(tmp_path, fake_model, seeds, run):
    await run(tmp_path, seeds, fake_model(), num_pairs=1, num_turns=1)
    settings = json.loads((tmp_path / "run.json").read_bytes())["settings"]
    async with Journal.open(tmp_path / "journal.sqlite", settings) as journal:
        keys = [f"0/{place}/0" for place in ("chosen/0/user", "chosen/0/assistant", "rejected/0/assistant")]
        assert len(journal) == 3
        assert all(journal.get(key) is not None for key in keys)
