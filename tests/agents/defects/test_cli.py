import json

import orjson
import pytest
import typer
from typer.testing import CliRunner

from music.errors import InvalidInputError
from music.evaluation.benchmarks.registry import load_benchmark, read_benchmark
from music.sandbox.server import sandbox_server
from music_agents.defects.cli import defects

APP = typer.Typer()
APP.command()(defects)


def run(*arguments):
    return CliRunner().invoke(APP, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture
def file(transcripts, tmp_path):
    path = tmp_path / "talk.jsonl"
    rows = (json.dumps({"messages": one.conversation.to_messages()}) + "\n" for one in transcripts)
    path.write_text("".join(rows))
    return path


def test_what_it_writes_is_read_by_the_benchmark(file, tmp_path):
    out = tmp_path / "run"
    with sandbox_server() as url:
        result = run(file, "--out", out, "--contrast", f"good@{url}", "--num-pairs", 9, "--same-author", "--json")
    report = orjson.loads(result.stdout)
    assert (result.exit_code, report["status"], report["num_pairs"]) == (0, "complete", 9)
    assert report["spending"]["num_calls"] == 18 + 1  # the probe
    items = read_benchmark(load_benchmark("defects"), [str(out)])
    assert {(item.prompt_id, item.tags["turn"]) for item in items.items} == {
        (item.prompt_id, turn) for item in items.items for turn in range(1, item.completions[0].num_turns + 1)
    }
    assert {item.tags["kind"] for item in items.items} <= {"instruction", "drop_constraint"}
    assert not items.rejected


def test_the_budget_stops_it_with_an_exit_code_of_its_own(file, tmp_path):
    result = run(file, "--out", tmp_path / "run", "--contrast", "sandbox", "--num-pairs", 9, "--max-total-tokens", 1)
    assert result.exit_code == 3
    assert "to resume, raise the budget" in result.stderr


def test_more_pairs_than_turns_are_refused(file, tmp_path):
    with pytest.raises(InvalidInputError, match="at most 9 pairs"):
        run(file, "--out", tmp_path / "run", "--contrast", "sandbox")
