"""One file, one answer: every command that reads pairs reports the same rows of it."""

import json

import pytest
import typer
from typer.testing import CliRunner

from music.conversation import Conversation
from music.evaluation.cli import evaluate
from music.evaluation.diagnostics.cli import diagnose
from music.pairs import PreferencePair
from music.preferences import write_preferences
from music.reward import RewardModel
from music.reward.cli import score
from music_agents.cli import simulate
from music_trainers.cli import train


def invoke(command, *arguments):
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def reward_model(reward_checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp("rm")
    RewardModel.from_pretrained(reward_checkpoint(), device="cpu").save_pretrained(path)
    return path


@pytest.fixture
def commands(language_checkpoint, reward_model, tmp_path):
    """Run a source through every command; return what each printed, by name."""
    seats = [f"--{role}=sandbox" for role in ("user", "assistant", "contrast")]
    settings = ["--max-steps", 1, "--eval-fraction", 0, "--device", "cpu", "--max-length", 2048]

    def run(source, *flags):
        out = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
        results = {
            "train": invoke(train, source, "--base", language_checkpoint(), "--out", out / "rm", *settings, *flags),
            "score": invoke(score, reward_model, source, "--device", "cpu", "--out", out / "scores.jsonl", *flags),
            "simulate": invoke(
                simulate, source, "--out", out / "pairs", "--num-pairs", 2, "--turns", 1, *seats, *flags
            ),
            "evaluate": invoke(evaluate, "preferences", source, "--model", "length", *flags),
            "diagnose": invoke(diagnose, source, "--model", "length", *flags),
        }
        return {name: (result.exit_code, result.stderr, result.exception) for name, result in results.items()}

    return run


def said(*texts):
    names = ("Human", "Assistant")
    return [{"role": names[index % 2], "content": text} for index, text in enumerate(texts)]


def pair(asked):
    start = Conversation().user(asked)
    return PreferencePair(id=asked, chosen=start.assistant("Yes."), rejected=start.assistant("Never ever."))


def odd_rows():
    """Rows of three shapes, with a tie, a repeated id, an empty system message, a float id and a NaN."""
    empty = {"role": "developer", "content": ""}
    rows = [
        {"id": float(n), "chosen": said(f"Tea {n}?", "Yes."), "rejected": said(f"Tea {n}?", "Never ever.")}
        for n in (1, 2, 2)
    ]
    rows[0]["chosen"] = [empty, *rows[0]["chosen"]]
    rows += [{"prompt": f"\n\nHuman: Hi {n}\n\nAssistant:", "chosen": " Hello there.", "rejected": "No."} for n in "ab"]
    for winner in ("model_a", "tie"):
        rows.append({"winner": winner, "conversation_a": said("So?", "Because."), "conversation_b": said("So?", "No.")})
    return [row | {"margin": float("nan")} for row in rows]


def test_every_command_reads_an_odd_file_the_same_way(commands, tmp_path):
    path = tmp_path / "odd.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + "".join(json.dumps(row) + "\n" for row in odd_rows()).encode())
    account = (
        "6 pairs from 7 rows of odd.jsonl (skywork and hh and arena); 1 ties, which give no pair; "
        "1 empty system messages left out; 1 repeated ids made unique (id, id#2, ...)"
    )
    for name, (code, printed, exception) in commands(path).items():
        assert account in printed, (name, printed, exception)
        assert code == 0, (name, printed, exception)


def test_every_command_takes_a_split_and_lists_those_that_there_are(commands, tmp_path):
    folder = tmp_path / "set"
    for split, num in (("train_prefs", 3), ("test_prefs", 2)):
        pairs = [pair(f"Tea {n}?") for n in range(num)]
        write_preferences(pairs, folder / "data" / f"{split}-00000-of-00001.parquet")
    for name, (code, printed, exception) in commands(folder, "--split", "test_prefs").items():
        assert "2 pairs from set" in printed, (name, printed, exception)
        assert code == 0, (name, printed, exception)
    for name, (code, printed, _) in commands(f"{folder}:train_prefs").items():
        assert ("3 pairs from set" in printed, code) == (True, 0), (name, printed)
    for name, (code, _, exception) in commands(folder).items():
        assert "there are test_prefs, train_prefs. Name one with --split" in str(exception), name
        assert code == 1, name


def test_every_command_merges_messages_in_a_row_if_asked(commands, tmp_path):
    path = tmp_path / "twice.jsonl"
    twice = [{"role": "user", "content": "Hi"}, {"role": "user", "content": "Tea?"}]
    rows = [
        {"chosen": [*twice, {"role": "assistant", "content": f"Yes {n}."}], "rejected": said("Hi", "Never ever.")}
        for n in range(2)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, (code, printed, exception) in commands(path, "--consecutive", "merge").items():
        assert "2 messages merged with the one before" in printed, (name, exception)
        assert code == 0, (name, printed, exception)
    for name, (code, printed, exception) in commands(path).items():
        assert "--consecutive merge" in str(exception) or "roles_out_of_order 2" in f"{printed}{exception}", name
        assert code == 1, name


def test_flags_of_reading_are_for_preferences_alone(tmp_path):
    result = invoke(evaluate, "rewardbench", tmp_path, "--model", "length", "--consecutive", "merge")
    assert "--format and --consecutive are for `preferences` and `defects`; rewardbench" in str(result.exception)
