import json
import re

import orjson
import pytest
import typer
from typer.testing import CliRunner

from music.errors import InvalidInputError
from music.evaluation.cli import evaluate
from music.reward import RewardModel

APP = typer.Typer()
APP.command()(evaluate)


def run(*arguments):
    result = CliRunner().invoke(APP, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result


def run_json(*arguments):
    return orjson.loads(run(*arguments, "--json").stdout)


@pytest.fixture(scope="module")
def checkpoint(reward_checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp("rm")
    RewardModel.from_pretrained(reward_checkpoint(), device="cpu").save_pretrained(path)
    return path


def write(path, sides):
    rows = [
        {"prompt": [{"role": "user", "content": f"Question {n}?"}]}
        | {
            side: [{"role": "assistant", "content": text}]
            for side, text in zip(("chosen", "rejected"), both, strict=True)
        }
        for n, both in enumerate(sides)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def file(tmp_path):
    """Twelve pairs, in nine of which the chosen side is the longer one."""
    sides = [("A pear, or an apple.", "A pear."), ("Yes.", "No, no, no."), ("A good plan.", "No."), ("Warm.", "Bad.")]
    return write(tmp_path / "pairs.jsonl", sides * 3)


def test_figures_of_a_baseline(file):
    result = run_json("preferences", file, "--model", "length")
    assert result["figures"][0]["name"] == "overall"
    assert result["figures"][0]["estimate"]["value"] == 0.75
    assert (result["model"], result["num_items"], result["comparison"]) == ("length", 12, None)
    text = run("preferences", file, "--model", "length").stdout
    assert "0.750 [0.468, 0.911]" in text
    assert "12 items, 24 completions" in text


def test_a_run_is_kept_taken_up_and_computed_again_without_the_model(checkpoint, file, tmp_path):
    out = tmp_path / "out"
    result = run_json("preferences", file, "--model", checkpoint, "--out", out)
    assert orjson.loads((out / "result.json").read_bytes()) == result
    before = (out / "scores.jsonl").read_bytes()
    again = run_json("preferences", file, "--model", checkpoint, "--out", out)
    assert (out / "scores.jsonl").read_bytes() == before
    from_file = run_json("preferences", file, "--model", out / "scores.jsonl")
    for other in (again, from_file):
        assert other | {"seconds": 0} == result | {"seconds": 0}
    model = RewardModel.from_pretrained(checkpoint)
    assert result["fingerprint"] == model.fingerprint
    assert result["versions"].keys() == {"music-rm", "torch", "transformers"}


def test_a_comparison_with_a_second_model_or_a_file(checkpoint, file, tmp_path):
    out = tmp_path / "out"
    result = run_json("preferences", file, "--model", "length", "--baseline", checkpoint, "--out", out)
    assert result["comparison"]["baseline"] == str(checkpoint)
    assert result["comparison"]["num_items"] == 12
    kept = ("--model", out / "scores.jsonl", "--baseline", out / "baseline.jsonl")
    assert run_json("preferences", file, *kept)["comparison"] == result["comparison"]
    text = run("preferences", file, *kept).stdout
    assert f"length less {checkpoint}".split("/")[0] in text
    assert "within noise" in text
    assert "compared over the 12 items" in text


def test_scores_computed_elsewhere_are_evaluated_as_a_subset(file, tmp_path):
    mine = tmp_path / "mine.jsonl"
    rows = [{"id": f"pairs-{n}", "scores": [float(n % 3), 1.0]} for n in (9, 3, 5, 8)]  # hits where n % 3 is 2
    mine.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = run_json("preferences", file, "--scores", mine, "--baseline", f"scores:{mine}")
    assert (result["model"], result["num_items"], result["figures"][0]["estimate"]["value"]) == (str(mine), 4, 0.5)
    assert [(e["reason"], e["num"]) for e in result["exclusions"]] == [("not_in_file", 8)]
    assert result["comparison"]["num_items"] == 4


@pytest.mark.parametrize(("flags", "got"), [([], "neither"), (["--model", "length", "--scores", __file__], "both")])
def test_a_model_or_a_file_of_scores_is_needed(file, flags, got):
    with pytest.raises(ValueError, match=f"expected either a model or a file of scores, got {got}"):
        run("preferences", file, *flags)


def test_a_second_model_does_not_write_over_the_first(checkpoint, file, tmp_path):
    run("preferences", file, "--model", "length", "--out", tmp_path / "out")
    with pytest.raises(InvalidInputError, match="scores of another model: length"):
        run("preferences", file, "--model", checkpoint, "--out", tmp_path / "out")


def test_completions_without_a_score_stop_it_or_are_counted(checkpoint, tmp_path):
    file = write(tmp_path / "pairs.jsonl", [("Yes.", "No, no, no."), ("Warm.", "Bad."), ("walk " * 600, "No.")])
    with pytest.raises(InvalidInputError, match=r"over_long 1\): pairs-3"):
        run("preferences", file, "--model", checkpoint)
    text = run("preferences", file, "--model", checkpoint, "--no-strict").stdout
    assert "2 items, 4 completions" in text
    assert "left out in scoring: 1 for over_long (first: pairs-3)" in text


def test_bad_rows_stop_it_or_are_counted(file):
    with file.open("a") as opened:
        opened.write('{"prompt": [{"role": "user", "content": "Why?"}], "chosen": 3}\n')
    with pytest.raises(InvalidInputError, match=r"pairs.jsonl, line 13"):
        run("preferences", file, "--model", "length")
    text = run("preferences", file, "--model", "length", "--no-strict").stdout
    assert "left out in reading: 1 for" in text
    assert "(first: pairs.jsonl, line 13:" in " ".join(text.split())


def test_a_draw_says_that_it_is_one(file):
    result = run_json("preferences", file, "--model", "length", "--limit", 5)
    assert (result["num_items"], result["num_items_of_all"]) == (5, 12)
    assert "a draw of prompts from 12 items" in run("preferences", file, "--model", "length", "--limit", 5).stdout


def test_an_unknown_benchmark_lists_those_there_are(file):
    with pytest.raises(InvalidInputError, match=r"rewardbench2.*got 'rewardbanch'"):
        run("rewardbanch", file, "--model", "length")


def test_progress_is_shown_where_there_is_no_terminal(tmp_path):
    file = write(tmp_path / "pairs.jsonl", [("Long enough.", "Short."), ("A", "Bb")])
    shown = run("preferences", file, "--model", "length").stderr
    assert re.search(r"^items: 2 of 2, 0:00:\d\d, done$", shown, re.MULTILINE)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--model", "lenght"], "did you mean 'length'"),
        (["--model", "length", "--baseline", "scores.jsonl"], "expected a file of scores"),
        (["--scores", "mine.jsonl"], "expected a file of rows of `id` and `scores`"),
        (["--model", "length", "--out", __file__], "is a file"),
    ],
)
def test_what_can_be_wrong_is_found_before_the_benchmark_is_read(flags, words):
    with pytest.raises(InvalidInputError, match=words):
        run("preferences", "nowhere.jsonl", *flags)


def test_a_near_benchmark_is_suggested():
    with pytest.raises(InvalidInputError, match="did you mean 'rewardbench2'"):
        run("reward-bench2", "x.jsonl", "--model", "length")
