import re

import orjson
import pytest
import typer
from typer.testing import CliRunner

from music.errors import InvalidInputError
from music_trainers import cli

APP = typer.Typer()
APP.command()(cli.rl)
SMALL = ("--num-groups", 2, "--group-size", 2, "--turns", 2, "--updates-per-step", 1, "--max-reply-tokens", 12)
SMALL += ("--num-steps", 1, "--num-evaluations", 2, "--reward", "length")


def run(*arguments):
    return CliRunner().invoke(APP, [str(argument) for argument in arguments], catch_exceptions=False)


def test_a_run_is_followed_and_told_in_words(tmp_path):
    result = run("--out", tmp_path, *SMALL)
    assert result.exit_code == 0
    assert "step 0/1: reward" in result.stderr
    assert "step 1/1: reward" in result.stderr
    assert "greedy, after:" in result.stdout
    assert "loss" not in result.stdout  # nothing of TRL's own log


def test_the_result_can_be_read_by_programs(tmp_path):
    result = run("--out", tmp_path, *SMALL, "--json")
    curve = orjson.loads(result.stdout)["curve"]
    assert [point["step"] for point in curve] == [0, 1]
    assert {"value", "low", "high", "num"} <= set(curve[0]["grade"])


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "find_spec", lambda name: None)
    with pytest.raises(InvalidInputError, match=r"music-rm\[trl\]"):
        run("--out", tmp_path, *SMALL)


def test_steps_are_counted_where_there_is_no_terminal(tmp_path):
    assert re.search(r"^steps: 1 of 1, 0:\d\d:\d\d, done$", run("--out", tmp_path, *SMALL).stderr, re.MULTILINE)


def test_a_finished_run_is_replaced_on_request_only(tmp_path):
    (tmp_path / "policy").mkdir()
    (tmp_path / "result.json").write_text("mine")
    with pytest.raises(InvalidInputError, match="--overwrite"):
        run("--out", tmp_path, *SMALL)
    assert (tmp_path / "result.json").read_text() == "mine"
    assert run("--out", tmp_path, *SMALL, "--overwrite").exit_code == 0
    assert (tmp_path / "policy" / "model.safetensors").stat().st_mode & 0o044 == (
        tmp_path / "result.json"
    ).stat().st_mode & 0o044


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--reward", "lenght"], "did you mean 'length'"),
        (["--judge", "orcale"], "did you mean 'oracle'"),
        (["--policy", "./nowhere"], "there is no such folder"),
    ],
)
def test_what_can_be_wrong_is_found_before_models_are_loaded(tmp_path, flags, words):
    with pytest.raises(InvalidInputError, match=words):
        run("--out", tmp_path, *SMALL, *flags)
