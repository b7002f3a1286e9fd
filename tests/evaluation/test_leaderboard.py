import json
import re

import orjson
import pytest
import typer
from typer.testing import CliRunner

from music.errors import InvalidInputError
from music.evaluation import LeaderboardConfig, load_scored_model, run_leaderboard
from music.evaluation.cli import leaderboard
from music.evaluation.leaderboard import leaderboard_report

APP = typer.Typer()
APP.command()(leaderboard)


@pytest.fixture
def files(tmp_path):
    """Two files of pairs: in three quarters, and in half of them, the chosen side is longer."""
    paths = []
    for name, sides in (("a", ["Yes, please.", "No."]), ("b", ["Yes.", "No, not now."])):
        rows = [{"prompt": f"{name} {n}?", "chosen": sides[0], "rejected": sides[1]} for n in range(4)]
        rows[0] |= {"chosen": sides[1], "rejected": sides[0]}
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        paths.append(str(path))
    return paths


@pytest.fixture
def best_of_four(tmp_path):
    """A file of two rows of RewardBench 2."""
    rows = [
        {"id": n, "prompt": f"{n}?", "subset": "Math", "chosen": ["Four."], "rejected": ["5", "6", "7"]} for n in "ab"
    ]
    path = tmp_path / "rb2.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_every_model_meets_every_benchmark_in_one_table(files, best_of_four, tmp_path):
    mine = tmp_path / "mine.jsonl"
    mine.write_text('{"id": "a-1", "scores": [2, 1]}\n{"id": "a-2", "scores": [1, 2]}\n')
    out = tmp_path / "out"
    arguments = [f"preferences={files[0]}", f"preferences={files[1]}", f"rewardbench2={best_of_four}"]
    flags = ["--model", "length", "--model", "random", "--out", str(out)]
    result = CliRunner().invoke(APP, [*arguments, *flags], catch_exceptions=False)
    assert result.exit_code == 0
    assert "preferences: overall; " in result.stdout
    kept = orjson.loads((out / "leaderboard.json").read_bytes())
    assert [(each["benchmark"], each["model"]) for each in kept["results"]] == [
        *(("preferences", "length"), ("preferences", "random"), ("rewardbench2", "length"), ("rewardbench2", "random"))
    ]
    assert kept["results"][0]["figures"][0]["estimate"]["value"] == 0.5
    assert (out / "rewardbench2" / "length" / "result.json").is_file()
    assert (out / "report.html").is_file()
    lines = result.stdout.splitlines()
    place = next(n for n, line in enumerate(lines) if line.lstrip().startswith("length"))
    assert lines[place].split() == ["length", "0.500", "1.000"]
    assert re.fullmatch(r" *\[0.\d+, 0.\d+\] +\[0.\d+, 1.000\] *", lines[place + 1])


def test_a_model_is_loaded_once_for_all_benchmarks(files, best_of_four, monkeypatch):
    loaded = []

    def load(name):
        loaded.append(name)
        return load_scored_model(name)

    monkeypatch.setattr("music.evaluation.leaderboard.load_scored_model", load)
    benchmarks = (f"preferences={files[0]}", f"rewardbench2={best_of_four}")
    found = run_leaderboard(LeaderboardConfig(benchmarks=benchmarks, models=("length", "random")))
    assert loaded == ["length", "random"]
    assert [(each.benchmark, each.model) for each in found.results] == [
        *(("preferences", "length"), ("preferences", "random"), ("rewardbench2", "length"), ("rewardbench2", "random"))
    ]


def test_imported_scores_of_a_subset_are_marked(files, tmp_path):
    mine = tmp_path / "mine.jsonl"
    mine.write_text('{"id": "a-1", "scores": [2, 1]}\n{"id": "a-2", "scores": [1, 2]}\n')
    config = LeaderboardConfig(benchmarks=(f"preferences={files[0]}",), models=("length", f"scores:{mine}"))
    found = run_leaderboard(config)
    assert [result.num_items for result in found.results] == [4, 2]
    notes = leaderboard_report(found).notes["Account"].splitlines()
    assert notes[1:] == [f"  {mine}: left out in scoring: 2 for not_in_file (first: a-3)"]
    assert dict(found.rows())[f"scores:{mine}"][0].exclusions[0].reason == "not_in_file"


@pytest.mark.parametrize(
    ("benchmarks", "models", "said"),
    [
        (("preferences",), ("length",), "expected BENCHMARK=FILE.*got 'preferences'"),
        (("preferance=a.jsonl",), ("length",), "did you mean 'preferences'"),
        (("preferences=a.jsonl",), ("lenght",), "did you mean 'length'"),
    ],
)
def test_what_can_be_wrong_is_found_before_anything_is_read(benchmarks, models, said):
    with pytest.raises(InvalidInputError, match=said):
        run_leaderboard(LeaderboardConfig(benchmarks=benchmarks, models=models))


def test_a_model_given_twice_is_refused():
    with pytest.raises(ValueError, match="expected each model once, got length several times"):
        LeaderboardConfig(benchmarks=("preferences=a.jsonl",), models=("length", "length"))
