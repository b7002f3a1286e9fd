import json

import pytest

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.evaluation import EvaluationConfig, ScoredItems, pair_item, run_evaluation
from music.evaluation.benchmarks import registry
from music.evaluation.benchmarks.pairs import Preferences
from music.evaluation.benchmarks.registry import benchmark_names, load_benchmark, read_benchmark, register_benchmark
from music.preferences.sources import Row

NAMES = ("rewardbench", "rewardbench2", "rm_bench", "judgebench", "rmb", "ppe", "mt_bench", "preferences")
NAMES += ("defects", "turn_labels")
SIDES = ("good", "bad")


def test_all_benchmarks_open_by_name():
    assert set(NAMES) <= set(benchmark_names())
    for name in NAMES:
        assert load_benchmark(name).name == name


def test_an_unknown_name_is_answered_with_all_names():
    with pytest.raises(InvalidInputError, match=r"\(rewardbench, rewardbench2, .*turn_labels\), got 'reward-bench'"):
        load_benchmark("reward-bench")


def test_a_benchmark_of_ones_own_opens_by_its_name(monkeypatch):
    monkeypatch.setattr(registry, "_benchmarks", dict(registry._benchmarks))
    own = Preferences()
    own.name = "in-house"

    register_benchmark(own)

    assert load_benchmark("in-house") is own
    with pytest.raises(InvalidInputError, match="'in-house', which is taken"):
        register_benchmark(own)


def test_a_class_is_registered_by_a_decorator(monkeypatch, tmp_path):
    monkeypatch.setattr(registry, "_benchmarks", dict(registry._benchmarks))

    @register_benchmark
    class Fruit:
        name, source, split = "fruit", "rows of `question`, `good` and `bad`", "test"

        def read(self, row):
            prompt = Conversation().user(row.content["question"])
            return [pair_item(row.content["question"], "fruit", *(prompt.assistant(row.content[k]) for k in SIDES))]

        def figures(self, items, scores):
            scored = ScoredItems(items, scores)
            return [scored.accuracy("overall", scored.places)]

    rows = [{"question": f"Fruit {n}?", "good": "An apple.", "bad": "A"} for n in range(4)]
    (tmp_path / "fruit.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = EvaluationConfig(benchmark="fruit", files=(str(tmp_path / "fruit.jsonl"),), model="length")
    assert run_evaluation(config).figures[0].estimate.value == 1.0
    assert Fruit.name == "fruit"
    with pytest.raises(InvalidInputError, match="'fruit', which is taken"):
        register_benchmark(Fruit())


def test_a_benchmark_of_an_installed_package_opens_by_its_entry_point(tmp_path, monkeypatch):
    (tmp_path / "lab_benchmarks.py").write_text(
        "from music.evaluation.benchmarks.pairs import Preferences\n"
        "class Lab(Preferences):\n    name = 'lab'\n"
        "LAB = Lab()\n"
    )
    meta = tmp_path / "lab_benchmarks-1.0.dist-info"
    meta.mkdir()
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: lab-benchmarks\nVersion: 1.0\n")
    (meta / "entry_points.txt").write_text("[music.benchmarks]\nlab = lab_benchmarks:LAB\n")
    monkeypatch.syspath_prepend(tmp_path)

    assert "lab" in benchmark_names()
    assert load_benchmark("lab").name == "lab"


def row(id_, reply="Good."):
    return {"id": id_, "prompt": "Hi", "chosen": reply, "rejected": "Bad."}


def test_an_id_that_stands_twice_is_refused(read):
    with pytest.raises(InvalidInputError, match=r"rows.jsonl, line 2: expected a unique id, got 'a', which rows"):
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
    said = r"expected rows of preferences, got none that can be used; left out: 1 for empty_text \(first: rows.jsonl, "
    with pytest.raises(InvalidInputError, match=said + "line 1: chosen: expected text"):
        read("preferences", [row("a", reply="")], strict=False)
    with pytest.raises(InvalidInputError, match=r"rows.jsonl: expected rows of mt_bench, got no row$"):
        read("mt_bench", [])


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

    monkeypatch.setattr(registry, "iter_rows", iter_rows)
    for split in (None, "raw"):
        read_benchmark(load_benchmark("rewardbench"), ["allenai/reward-bench"], split=split)
    assert asked == [("allenai/reward-bench", "filtered"), ("allenai/reward-bench", "raw")]
