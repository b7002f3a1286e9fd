import json

import orjson
import pytest
import typer
from typer.testing import CliRunner

from music.errors import InvalidInputError
from music.evaluation.benchmarks.registry import load_benchmark, read_benchmark
from music.preferences import read_preferences
from music_agents.swap.cli import swap

APP = typer.Typer()
APP.command()(swap)


def run(*arguments):
    return CliRunner().invoke(APP, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture
def file(transcripts, tmp_path):
    path = tmp_path / "talk.jsonl"
    rows = [json.dumps({"messages": one.conversation.to_messages()}) + "\n" for one in transcripts]
    path.write_text("".join([*rows, '{"messages": [{"role": "user", "content": ""}]}\n']))
    return path


def test_other_commands_read_what_it_writes(file, tmp_path):
    out = tmp_path / "run"
    result = run(
        file, "--out", out, "--eval-fraction", 0.35, "--max-similarity", 0.9, "--schedule", "turns:2", "--json"
    )
    report = orjson.loads(result.stdout)
    assert (result.exit_code, report["status"], report["spending"]["num_calls"]) == (0, "complete", 0)
    assert "1 of 13 rows dropped" in result.stderr
    assert "line 13" in result.stderr
    train, held_out = (read_preferences(folder).pairs for folder in (out, out / "eval"))
    assert len(train) == report["num_pairs"]
    assert held_out
    assert not {pair.chosen for pair in train} & {pair.chosen for pair in held_out}
    items = read_benchmark(load_benchmark("defects"), [str(out)])
    assert {(item.tags["turn"], item.tags["kind"]) for item in items.items} == {(2, "swap")}


def test_no_pair_at_all_is_an_error(file, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(InvalidInputError, match=r"talk.jsonl: expected a pair .* got none \(no_similar_request 12; "):
        run(file, "--out", out, "--min-similarity", 0.97, "--max-similarity", 0.98)
    assert run(file, "--out", out, "--max-similarity", 0.9).exit_code == 0  # as the message advises
    with pytest.raises(InvalidInputError, match="pairs of another run"):
        run(file, "--out", out, "--max-similarity", 0.8)


def test_a_band_that_is_none_is_refused(file, tmp_path):
    with pytest.raises(ValueError, match=r"--min-similarity below --max-similarity, got 0.6 and 0.5"):
        run(file, "--out", tmp_path / "run", "--min-similarity", 0.6)


@pytest.mark.parametrize(
    ("conversations", "said"),
    [
        ([], "found no row"),
        ([["Hi"], ["Ho"]], r"that end with the assistant, got none of 2 \(the first: few-1\)"),
        ([["Hi", "Hello."]], "at least 2 conversations .* got 1, the first: few-1"),
        ([["Hi", "Hello."], ["hi ", "Good day."]], "at least 2 conversations .* got 2, the first: few-1"),
        ([["red apple", "Yes."], ["green pear", "No."]], "got none .no_similar_request 2; each is named in .*failures"),
    ],
)
def test_a_corpus_that_gives_no_pair_is_named(tmp_path, conversations, said):
    rows = [
        {"messages": [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]}
        for texts in conversations
    ]
    (tmp_path / "few.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InvalidInputError, match=f"few.jsonl: expected .*{said}"):
        run(tmp_path / "few.jsonl", "--out", tmp_path / "run")
