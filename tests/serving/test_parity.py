"""Parity of a running server with a model here, as `music serve MODEL --check URL FILE` finds it."""

import json

import pytest
import torch
import typer
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from music.conversation import Conversation
from music.reward import RemoteReward, RewardModel
from music.serving import reward_server
from music.serving.cli import serve
from music.serving.parity import CLEAR_MARGIN, check_parity

APP = typer.Typer()
APP.command()(serve)
TEXTS = ("apple", "pear and plan", "walk", "city " * 6, "cold", "warm warm", "short", "sentence")
SIDES = [Conversation().user(f"Name {number}.").assistant(text) for number, text in enumerate(TEXTS)]
LONE = Conversation().user("Anybody here?")


@pytest.fixture(scope="module")
def checkpoint(reward_checkpoint):
    path = reward_checkpoint()
    model = RewardModel.from_pretrained(path, device="cpu")
    model.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def url(checkpoint):
    with reward_server(str(checkpoint), "--device", "cpu") as base_url:
        yield base_url


@pytest.fixture
def negated(checkpoint, tmp_path):
    """Return the checkpoint with a head of the opposite sign."""
    model = RewardModel.from_pretrained(checkpoint, device="cpu")
    model.save_pretrained(tmp_path / "negated")
    weights = load_file(tmp_path / "negated" / "model.safetensors")
    save_file(weights | {"score.weight": -weights["score.weight"]}, tmp_path / "negated" / "model.safetensors")
    return tmp_path / "negated"


def clear_pairs(model):
    scores = model.score(SIDES)
    return sum(abs(a - b) > CLEAR_MARGIN for a, b in zip(scores[::2], scores[1::2], strict=True))


def test_a_server_of_the_same_model_gives_its_scores(checkpoint, url):
    local = RewardModel.from_pretrained(checkpoint, device="cpu")
    parity = check_parity(local, RemoteReward("rm", url), [*SIDES, LONE])
    assert parity.max_difference is not None
    assert parity.median_difference <= parity.max_difference <= 1e-5
    assert (parity.num_compared, parity.num_scored_by_one) == (len(SIDES), 0)
    assert parity.num_clear_pairs is None is parity.num_rank_flips
    assert parity.same_weights is True


def test_another_model_is_told_by_its_differences_and_flips(negated, url):
    local = RewardModel.from_pretrained(negated, device="cpu")
    parity = check_parity(local, RemoteReward("rm", url), SIDES, are_pairs=True)
    expected = [2 * abs(score) for score in local.score(SIDES)]
    assert parity.max_difference == pytest.approx(max(expected), abs=1e-5)
    assert parity.median_difference == pytest.approx(torch.tensor(expected).quantile(0.5).item(), abs=1e-5)
    assert parity.num_rank_flips == parity.num_clear_pairs == clear_pairs(local) > 0
    assert parity.same_weights is False
    assert "other weights" in parity.text()


@pytest.mark.parametrize("kind", ["pairs", "conversations"])
def test_the_command_compares_a_file(checkpoint, url, tmp_path, kind):
    file = tmp_path / "rows.jsonl"
    messages = [side.to_messages() for side in SIDES]
    pairs = [{"chosen": a, "rejected": b} for a, b in zip(messages[::2], messages[1::2], strict=True)]
    rows = pairs if kind == "pairs" else [{"messages": each} for each in messages]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = CliRunner().invoke(APP, [str(checkpoint), "--device", "cpu", "--check", url, str(file), "--json"])
    assert run.exit_code == 0, run.output
    found = json.loads(run.stdout)
    assert found["num_compared"] == len(SIDES)
    assert found["max_difference"] <= 1e-5
    assert found["num_rank_flips"] == (0 if kind == "pairs" else None)


def test_a_deterministic_server_gives_the_bits_of_a_model_here(checkpoint, tmp_path):
    file = tmp_path / "conversations.jsonl"
    file.write_text("".join(json.dumps({"messages": each.to_messages()}) + "\n" for each in SIDES))
    flags = ["--device", "cpu", "--deterministic"]
    with reward_server(str(checkpoint), *flags) as base_url:
        run = CliRunner().invoke(APP, [str(checkpoint), *flags, "--check", base_url, str(file), "--json"])
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["max_difference"] == 0
