import json
import os
import shutil
from contextlib import nullcontext
from functools import partial

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from music.errors import InvalidInputError, MusicError
from music.files import locked_folder
from music.preferences import write_preferences
from music.reward import RewardModel
from music.reward.cli import score
from music.reward.scored_set import LocalWorkers, SetSettings, score_set

APP = typer.Typer()
APP.command()(score)
NO_SUMMARY = ("out", "rows", "num_rows", "num_rows_without_pair", "num_rows_without_conversation")


def command(*arguments):
    return CliRunner().invoke(APP, [str(argument) for argument in arguments], catch_exceptions=False)


def result_of(*arguments):
    result = command(*arguments, "--json")
    assert result.exit_code == 0
    return orjson.loads(result.stdout)


def statistics(result):
    return {name: value for name, value in result.items() if name not in NO_SUMMARY}


def approx(value):
    """Compare floats in rows up to the rounding of other batches."""
    if isinstance(value, dict):
        return {name: approx(each) for name, each in value.items()}
    if isinstance(value, list):
        return [approx(each) for each in value]
    return pytest.approx(value, abs=1e-5) if isinstance(value, float) else value


@pytest.fixture
def score_to(checkpoint):
    """Score a source in this process."""

    def score_to(source, out, workers=None, split=None, **settings):
        workers = workers or partial(LocalWorkers, str(checkpoint), {"device": "cpu"})
        settings = {"part_rows": 7, **settings}
        return score_set(str(source), out, lambda: nullcontext(workers()), SetSettings(**settings), split=split)

    return score_to


@pytest.mark.parametrize("per_turn", [False, True])
def test_a_folder_of_pairs_has_the_rows_of_a_file(checkpoint, pairs, pair_folder, tmp_path, rows_of, per_turn):
    flags = ["--per-turn"] if per_turn else []
    whole = result_of(checkpoint, pair_folder, *flags)
    result = result_of(checkpoint, pair_folder, *flags, "--out", tmp_path / "out", "--part-rows", 7)
    assert statistics(result) == approx(statistics(whole))
    assert (result["num_rows"], result["num_rows_without_pair"]) == (60, {})
    rows = rows_of(tmp_path / "out")
    assert [{name: row[name] for name in ("id", "chosen", "rejected")} for row in rows] == approx(whole["rows"])
    assert [(row["file"], row["row"]) for row in rows] == [(f"{n}.parquet", k) for n in range(3) for k in range(1, 21)]
    assert [row["margin"] for row in rows] == [row["chosen"]["score"] - row["rejected"]["score"] for row in rows]
    assert len(list((tmp_path / "out").glob("part-*.parquet"))) == 9


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz", "json", "parquet"])
def test_a_file_of_conversations_has_the_rows_of_a_file(checkpoint, make_conversation, tmp_path, rows_of, suffix):
    huge = make_conversation(1).user("More.").assistant("walk " * 600)
    conversations = [make_conversation(seed) for seed in range(20)] + [huge, make_conversation(2, num_turns=40)]
    rows = [{"id": f"c{index}", "messages": c.to_messages()} for index, c in enumerate(conversations)]
    path = tmp_path / f"c.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=4)
    elif suffix == "json":
        path.write_text(json.dumps(rows))
    else:
        lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
        import gzip

        path.write_bytes(gzip.compress(lines) if suffix.endswith("gz") else lines)
    whole = result_of(checkpoint, path, "--per-turn")
    result = result_of(checkpoint, path, "--per-turn", "--out", tmp_path / "out", "--part-rows", 5)
    assert statistics(result) == approx(statistics(whole))
    assert result["num_unscorable"] == {"over_long": 1}
    names = ("score", "turns", "num_dropped_turns", "problem")
    found = rows_of(tmp_path / "out")
    assert [{name: row[name] for name in names} for row in found] == approx(
        [{name: row[name] for name in names} for row in whole["rows"]]
    )
    assert [row["id"] for row in found] == [row["id"] for row in rows]
    assert [row["row"] for row in found] == list(range(1, 23))


def test_bad_rows_ties_and_several_pairs_of_a_row_are_rows_of_the_output(score_to, tmp_path, rows_of):
    battle = {"prompt": "Hi", "chosen": "Hello.", "rejected": "What?"}
    ranked = {
        "instruction": "Hi",
        "completions": [{"response": text, "overall_score": n} for n, text in enumerate("abc")],
    }
    sides = {side: [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": side}] for side in "ab"}
    tie = {"conversation_a": sides["a"], "conversation_b": sides["b"], "winner": "tie"}
    lines = [json.dumps(battle), "", "{broken", json.dumps(ranked), json.dumps({"prompt": "Hi"}), json.dumps(tie)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines))
    report = score_to(tmp_path / "pairs.jsonl", tmp_path / "out", part_rows=2)
    rows = [(row["row"], row["id"], row["row_problem"]) for row in rows_of(tmp_path / "out")]
    assert rows == [
        (1, "pairs-1", None),
        (3, None, "invalid_json"),
        *((4, f"pairs-4/{number}", None) for number in (1, 2, 3)),
        (5, None, "missing_side"),
        (6, "pairs-6", "tie"),
    ]
    assert report.summary["num_rows"] == 5
    assert report.summary["num_pairs"] == 4
    assert report.summary["num_rows_without_pair"] == {"invalid_json": 1, "missing_side": 1, "tie": 1}
    assert "without a pair: 1 invalid_json, 1 missing_side, 1 tie" in report.text
    with pytest.raises(InvalidInputError, match=r"line 3, .*invalid_json"):
        score_to(tmp_path / "pairs.jsonl", tmp_path / "strict", strict=True)


def test_conversations_without_a_reply_and_pairs_among_them_are_counted(score_to, make_conversation, tmp_path, rows_of):
    fine = make_conversation(1)
    messages = [fine.to_messages(), fine.user("More?").to_messages()]
    pair = {"prompt": "Hi", "chosen": "Hello.", "rejected": "What?"}
    lines = [json.dumps({"messages": each}) for each in messages] + [json.dumps(pair)]
    (tmp_path / "c.jsonl").write_text("\n".join(lines))
    report = score_to(tmp_path / "c.jsonl", tmp_path / "out")
    assert [row["row_problem"] for row in rows_of(tmp_path / "out")] == [None, "no_reply", "wrong_type"]
    assert (report.summary["num_rows"], report.summary["num_conversations"]) == (3, 1)


def test_replies_to_one_prompt_are_compared_across_what_would_be_parts(score_to, tmp_path, rows_of):
    rows = [{"prompt": f"Hi {i // 3}", "response": f"Hello {i}.", "helpfulness": i} for i in range(9)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "ratings.parquet")
    report = score_to(tmp_path / "ratings.parquet", tmp_path / "out", part_rows=2)
    assert (report.summary["num_rows"], report.summary["num_pairs"]) == (9, 9)
    assert [row["row"] for row in rows_of(tmp_path / "out")] == [1] * 3 + [4] * 3 + [7] * 3


KILLED = """
import sys
from music.reward import RewardModel
calls, score_each = [], RewardModel.score_each
def blocked(self, *args, **options):
    calls.append(1)
    if len(calls) == 4:
        print("in part 3", flush=True)
        sys.stdin.read()
    return score_each(self, *args, **options)
RewardModel.score_each = blocked
"""


def test_a_killed_run_resumes_with_the_parts_that_are_missing(
    checkpoint, pairs, pair_folder, tmp_path, start, score_to, rows_of
):
    out = tmp_path / "out"
    process = start(checkpoint, pair_folder, "--out", out, "--part-rows", 7, prelude=KILLED)
    assert process.stdout.readline() == "in part 3\n"
    with pytest.raises(InvalidInputError, match="another process is running there"):
        score_to(pair_folder, out)
    process.kill()
    process.communicate()
    assert [path.name for path in out.glob(".part*")] == [f".part-00003.parquet.{process.pid}.partial"]
    done = {path: path.stat().st_ino for path in out.glob("part-*.parquet")}
    assert len(done) == 3
    notes = []

    class Workers(LocalWorkers):
        def score(self, plan, numbers, out):
            notes.extend(numbers)
            return super().score(plan, numbers, out)

    report = score_to(pair_folder, out, lambda: Workers(str(checkpoint), {"device": "cpu"}))
    assert notes == [3, 4, 5, 6, 7, 8]
    assert {path: path.stat().st_ino for path in done} == done
    assert [path.name for path in out.iterdir() if path.name.endswith(".partial")] == []
    assert [row["id"] for row in rows_of(out)] == [pair.id for pair in pairs]
    assert report.summary == score_to(pair_folder, tmp_path / "uninterrupted").summary
    notes.clear()
    assert score_to(pair_folder, out, lambda: Workers(str(checkpoint), {"device": "cpu"})) == report
    assert notes == []


def test_a_torn_or_deleted_part_is_scored_again(pair_folder, tmp_path, score_to, rows_of):
    out = tmp_path / "out"
    report = score_to(pair_folder, out)
    rows = rows_of(out)
    torn, deleted = out / "part-00002.parquet", out / "part-00005.parquet"
    torn.write_bytes(torn.read_bytes()[:-20])
    deleted.unlink()
    assert score_to(pair_folder, out) == report
    assert rows_of(out) == approx(rows)


def test_another_model_is_refused_and_a_moved_one_is_not(checkpoint, edit_checkpoint, pair_folder, tmp_path, score_to):
    out = tmp_path / "out"
    report = score_to(pair_folder, out)
    moved = shutil.copytree(checkpoint, tmp_path / "moved")
    assert score_to(pair_folder, out, lambda: LocalWorkers(str(moved), {"device": "cpu"})).summary == report.summary
    other = edit_checkpoint(checkpoint, lambda weights: {name: weight * 1.01 for name, weight in weights.items()})
    with pytest.raises(InvalidInputError, match=r"it holds scores of another model.*choose another folder"):
        score_to(pair_folder, out, lambda: LocalWorkers(str(other), {"device": "cpu"}))


def test_changed_inputs_and_settings_are_refused_before_the_model_is_loaded(pairs, pair_folder, tmp_path, score_to):
    out, one, another = tmp_path / "out", pair_folder / "0.parquet", pair_folder / "3.parquet"
    report = score_to(pair_folder, out)
    unloaded = partial(pytest.fail, "loaded")
    with pytest.raises(InvalidInputError, match="its run was begun with --per-turn False, got True"):
        score_to(pair_folder, out, unloaded, per_turn=True)
    with pytest.raises(InvalidInputError, match="its run was begun with --part-rows 7, got 8"):
        score_to(pair_folder, out, unloaded, part_rows=8)
    write_preferences(pairs[:1], another)
    with pytest.raises(InvalidInputError, match=r"does not score .*3\.parquet, which is among the inputs now"):
        score_to(pair_folder, out, unloaded)
    another.unlink()
    content, times = one.read_bytes(), one.stat()
    write_preferences(pairs[:19], one)
    with pytest.raises(InvalidInputError, match=r"0\.parquet changed since its run was begun: .* bytes then"):
        score_to(pair_folder, out, unloaded)
    one.unlink()
    with pytest.raises(InvalidInputError, match=r"scores .*0\.parquet, which is not among the inputs now"):
        score_to(pair_folder, out, unloaded)
    one.write_bytes(content)
    os.utime(one, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert score_to(pair_folder, out) == report


def test_an_input_that_changes_during_the_run_ends_it(checkpoint, pairs, pair_folder, tmp_path, score_to):
    class Workers(LocalWorkers):
        def score(self, plan, numbers, out):
            for number in numbers:
                if number == 3:
                    write_preferences(pairs[:5], pair_folder / "1.parquet")
                yield from super().score(plan, [number], out)

    with pytest.raises(InvalidInputError, match=r"1\.parquet: expected it unchanged since the run was begun"):
        score_to(pair_folder, tmp_path / "out", lambda: Workers(str(checkpoint), {"device": "cpu"}))
    assert len(list((tmp_path / "out").glob("*.parquet"))) == 3
    assert list((tmp_path / "out").glob(".*.partial")) == []


def test_a_torn_input_is_named(pair_folder, tmp_path, score_to):
    torn = pair_folder / "1.parquet"
    torn.write_bytes(torn.read_bytes()[:-20])
    with pytest.raises(InvalidInputError, match=r"1\.parquet: expected a whole parquet file"):
        score_to(pair_folder, tmp_path / "out")


def test_a_folder_without_rows_or_with_other_files_is_refused(pair_folder, tmp_path, score_to):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInputError, match="expected a folder of files ending in"):
        score_to(tmp_path / "empty", tmp_path / "out")
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(InvalidInputError, match="found no row"):
        score_to(tmp_path / "empty.jsonl", tmp_path / "out")
    with pytest.raises(InvalidInputError, match="expected a file, a folder of data files"):
        score_to("no/such/set", tmp_path / "out")
    with pytest.raises(InvalidInputError, match=r"expected a new or empty folder.*it holds 0\.parquet"):
        score_to(pair_folder, pair_folder)
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInputError, match="is a file"):
        score_to(pair_folder, tmp_path / "file")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "manifest.json").write_text('{"pairs-00000.parquet": ["ab"]}')
    with pytest.raises(InvalidInputError, match="expected the manifest of a scored set"):
        score_to(pair_folder, tmp_path / "other")


def test_the_first_kind_of_files_of_a_folder_and_its_split_are_read(pairs, pair_folder, tmp_path, score_to):
    write_preferences(pairs[:5], pair_folder / "more.jsonl")
    assert score_to(pair_folder, tmp_path / "out").summary["num_rows"] == 60
    for name, num in (("train", 8), ("test", 4)):
        write_preferences(pairs[:num], tmp_path / "split" / f"{name}.parquet")
    assert score_to(f"{tmp_path / 'split'}:test", tmp_path / "test").summary["num_rows"] == 4
    assert score_to(tmp_path / "split", tmp_path / "train").summary["num_rows"] == 8


def test_a_damaged_part_is_named_with_the_remedy(pair_folder, tmp_path, score_to):
    score_to(pair_folder, tmp_path / "out")
    path = tmp_path / "out" / "part-00004.parquet"
    columns = pq.read_metadata(path).row_group(0)
    scores = next(c for c in map(columns.column, range(columns.num_columns)) if c.path_in_schema == "chosen.score")
    content = bytearray(path.read_bytes())
    content[scores.data_page_offset + scores.total_compressed_size // 2] ^= 1  # which the footer does not reveal
    path.write_bytes(content)
    with pytest.raises(MusicError, match=r"part-00004\.parquet: expected the whole file of a part .* delete it"):
        score_to(pair_folder, tmp_path / "out")
    path.unlink()
    assert score_to(pair_folder, tmp_path / "out").summary["num_rows"] == 60


def test_flags_of_workers_need_a_folder_and_ray(checkpoint, pair_folder, tmp_path):
    for flags, wanted in (
        (["--ray"], "expected --out FOLDER"),
        (["--ray", "--out", tmp_path / "scores.jsonl"], "expected --out FOLDER"),
        (["--workers", 2, "--out", tmp_path / "out"], "expected --ray"),
    ):
        with pytest.raises(InvalidInputError, match=wanted):
            command(checkpoint, pair_folder, *flags)
    assert list(tmp_path.glob("out/*")) == []


def test_a_folder_is_locked_until_the_block_ends(tmp_path):
    with locked_folder(tmp_path), pytest.raises(InvalidInputError, match="another process"), locked_folder(tmp_path):
        pass
    with locked_folder(tmp_path):
        pass


def test_the_model_scores_a_part_at_a_time(checkpoint, pair_folder, tmp_path, score_to, monkeypatch):
    sizes, score_each = [], RewardModel.score_each

    def measured(self, conversations, **options):
        sizes.append(len(conversations))
        return score_each(self, conversations, **options)

    monkeypatch.setattr(RewardModel, "score_each", measured)
    score_to(pair_folder, tmp_path / "out", part_rows=8)
    assert sizes == [16, 16, 8] * 3
