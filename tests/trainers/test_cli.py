import orjson
import pytest
import typer
from typer.testing import CliRunner

from music.errors import InvalidInputError
from music.preferences import write_preferences
from music_trainers.cli import train

APP = typer.Typer()
APP.command()(train)


def run(*arguments):
    return CliRunner().invoke(APP, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture
def pairs_file(make_pairs, tmp_path):
    write_preferences(make_pairs(60), tmp_path / "pairs.jsonl")
    return tmp_path / "pairs.jsonl"


def test_trains_and_says_on_what_and_how_well(language_checkpoint, pairs_file, tmp_path):
    settings = ("--learning-rate", 1e-3, "--batch-size", 8, "--eval-fraction", 0.2, "--device", "cpu")
    result = run(pairs_file, "--base", language_checkpoint(), "--out", tmp_path / "rm", *settings)
    assert result.exit_code == 0
    for words in (
        "60 pairs from pairs.jsonl",
        "on cpu in fp32",
        "48 read, 48 used",
        "12 read, 12 used",
        "step 6/6",
        "ETA 0:00:00",
    ):
        assert words in result.stderr
    assert "after:  held-out accuracy" in result.stdout
    assert (tmp_path / "rm" / "score_contract.json").exists()


def test_several_files_and_a_held_out_one(language_checkpoint, make_pairs, pairs_file, tmp_path):
    held_out = tmp_path / "held_out.jsonl"
    write_preferences(make_pairs(5, seed=9), held_out)
    result = run(
        *(pairs_file, pairs_file, "--eval", held_out, "--base", language_checkpoint(), "--out", tmp_path / "rm"),
        *("--max-steps", 1, "--json", "--device", "cpu"),
    )
    report = orjson.loads(result.stdout)
    assert report["pairs"]["num_read"] == 120
    assert report["after"]["num_pairs"] == 5
    assert report["config"]["learning_rate"] == 2e-6


def test_sources_have_weights_and_margins_come_from_a_column(language_checkpoint, make_pairs, tmp_path):
    lines = [
        {"id": p.id, "chosen": p.chosen.to_messages(), "rejected": p.rejected.to_messages(), "gap": 0.5}
        for p in make_pairs(10)
    ]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(map(orjson.dumps, lines)))
    result = run(
        *(f"{tmp_path}/a.jsonl=2", "--margin-column", "gap", "--base", language_checkpoint(), "--out", tmp_path / "rm"),
        *("--eval-fraction", 0, "--batch-size", 4, "--per-turn", 0.5, "--readout", "turn_mean", "--device", "cpu"),
    )
    assert (
        "a.jsonl: 10 read, 10 used (0 truncated), dropped: none; weight 2, 20 an epoch, 10 with a margin"
        in result.stderr
    )
    assert "step 5/5" in result.stderr
    assert "saved by sharing" in result.stdout


def test_the_training_file_as_held_out_file_is_refused(language_checkpoint, pairs_file, tmp_path):
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(pairs_file.read_bytes())
    for held_out in (pairs_file, copy):
        with pytest.raises(InvalidInputError, match="all 60 held-out pairs are training pairs"):
            run(pairs_file, "--eval", held_out, "--base", language_checkpoint(), "--out", tmp_path / "rm")


def test_how_steps_are_taken_can_be_chosen(language_checkpoint, pairs_file, tmp_path):
    arguments = (pairs_file, "--base", language_checkpoint(), "--out", tmp_path / "rm", "--max-steps", 1, "--json")
    flags = ("--scheduler", "linear", "--adam-beta1", 0.8, "--adam-beta2", 0.95, "--dropout", "--device", "cpu")
    config = orjson.loads(run(*arguments, *flags).stdout)["config"]
    assert [config[name] for name in ("scheduler", "adam_beta1", "adam_beta2", "dropout")] == [
        "linear",
        0.8,
        0.95,
        True,
    ]
    with pytest.raises(InvalidInputError, match="--aux-loss: expected a mixture of experts"):
        run(*arguments, "--overwrite", "--aux-loss", 0.01)


def test_a_weight_that_is_no_number_is_refused(language_checkpoint, pairs_file, tmp_path):
    with pytest.raises(InvalidInputError, match="expected a number after the ="):
        run(f"{pairs_file}=much", "--base", language_checkpoint(), "--out", tmp_path / "rm")


def test_eight_pairs_are_refused_with_the_ways_out_and_each_of_them_works(language_checkpoint, make_pairs, tmp_path):
    write_preferences(make_pairs(8), tmp_path / "eight.jsonl")
    arguments = (tmp_path / "eight.jsonl", "--base", language_checkpoint(), "--device", "cpu")
    with pytest.raises(InvalidInputError, match=r"8 pairs .*0\.125 \(--eval-fraction\).*--eval-fraction 0"):
        run(*arguments, "--out", tmp_path / "rm")
    for fraction in (0.125, 0):
        assert run(*arguments, "--out", tmp_path / f"rm-{fraction}", "--eval-fraction", fraction).exit_code == 0


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--base", "./nowhere"], "there is no such folder"),
        (["--base", "."], "holds no config.json"),
        (["--out", __file__], "is a file"),
    ],
)
def test_what_can_be_wrong_is_found_before_pairs_are_read(language_checkpoint, tmp_path, flags, words):
    arguments = ("nowhere.jsonl", "--base", language_checkpoint(), "--out", tmp_path / "rm")
    with pytest.raises(InvalidInputError, match=words):
        run(*arguments, *flags)
    (tmp_path / "rm").mkdir()
    (tmp_path / "rm" / "training.json").touch()
    with pytest.raises(InvalidInputError, match="--overwrite"):
        run(*arguments)
