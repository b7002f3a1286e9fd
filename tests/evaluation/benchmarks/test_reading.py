import pytest

from music.errors import InvalidInputError
from music.evaluation.benchmarks import reading
from music.evaluation.benchmarks.reading import read_benchmark
from music.evaluation.benchmarks.registry import load_benchmark
from music.preferences.sources import Row


def row(id_, reply="Good."):
    return {"id": id_, "prompt": "Hi", "chosen": reply, "rejected": "Bad."}


def test_an_id_that_stands_twice_is_refused(read):
    with pytest.raises(InvalidInputError, match=r"rows.jsonl, line 2: expected an id of its own, got 'a', which rows"):
        read("rewardbench", [row("a") | {"subset": "donotanswer"}] * 2)


def test_preferences_number_an_id_that_stands_twice_as_all_commands_do(read):
    items = read("preferences", [row("a"), row("b"), row("a")])
    assert [item.id for item in items.items] == ["a", "b", "a#2"]


def test_a_file_that_is_given_twice_is_refused(read, tmp_path):
    read("preferences", [row("a")])
    path = str(tmp_path / "rows.jsonl")
    with pytest.raises(InvalidInputError, match="is a file given twice"):
        read_benchmark(load_benchmark("preferences"), [path, path])


def test_bad_rows_are_counted_only_if_asked(read):
    rows = [row("a"), row("b", reply=""), row("c")]
    with pytest.raises(InvalidInputError, match=r"rows.jsonl, line 2, chosen: expected text.*--no-strict"):
        read("preferences", rows)
    items = read("preferences", rows, strict=False)
    assert [item.id for item in items.items] == ["a", "c"]
    assert [(one.place, one.reason) for one in items.rejected] == [("line 2", "empty_text")]


def test_a_file_without_usable_rows_is_refused(read):
    with pytest.raises(InvalidInputError, match="expected rows of preferences, got none that can be used"):
        read("preferences", [row("a", reply="")], strict=False)


def test_invalid_json_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": "a"\n')
    with pytest.raises(InvalidInputError, match=r"rows.jsonl, line 1, line: expected a JSON object"):
        read_benchmark(load_benchmark("rewardbench"), [str(path)])


def test_a_row_that_is_no_object_is_named(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text("[[1, 2]]")
    with pytest.raises(InvalidInputError, match=r"rows.json, row 1, row: expected an object with fields, got list"):
        read_benchmark(load_benchmark("rmb"), [str(path)])


def test_the_split_is_the_benchmarks_own_unless_another_is_named(monkeypatch):
    asked = []

    def iter_rows(source, split, *, prefer):
        asked.append((source, split or prefer))
        yield Row(source, "row", 1, row("1") | {"subset": "donotanswer"})

    monkeypatch.setattr(reading, "iter_rows", iter_rows)
    for split in (None, "raw"):
        read_benchmark(load_benchmark("rewardbench"), ["allenai/reward-bench"], split=split)
    assert asked == [("allenai/reward-bench", "filtered"), ("allenai/reward-bench", "raw")]
