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
