"""A frozen backbone from pairs to a checkpoint, through a kill, and next to what `music train` does otherwise."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from pydantic import ValidationError
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from typer import Typer
from typer.testing import CliRunner

from music.errors import InvalidInputError
from music.preferences import read_preferences, split_pairs, write_preferences
from music.reward import RewardModel
from music.reward.loading import load_checkpoint
from music_trainers import Mixture, Objective, PairSource, RewardTrainingConfig, train_reward_head, train_reward_model
from music_trainers.cli import train
from music_trainers.frozen import FrozenBackbone, RewardHeadResult, fit_head, read_features
from music_trainers.reward.optimizer import PairOptimizer
from music_trainers.reward.pairs import encode_pairs, group_by_seed

KILLED = """
import os, signal, sys
from music_trainers.cli import train
from music_trainers.frozen.cache import StateCache
from typer import Typer

add, num_shards = StateCache.add, 0

def add_and_die(self, states):
    global num_shards
    add(self, states)
    num_shards += 1
    if num_shards == 2:
        os.kill(os.getpid(), signal.SIGKILL)

StateCache.add = add_and_die
app = Typer()
app.command()(train)
app(sys.argv[1:])
"""


def saved_head(out):
    return load_file(out / "model.safetensors")["score.weight"][0]


def frozen(base, folder):
    return FrozenBackbone(load_checkpoint(base, dtype=torch.float32, head_seed=0), folder, device="cpu")


@pytest.mark.parametrize("readout", ["last", "turn_mean", "end_weighted"])
def test_the_checkpoint_scores_as_the_features_times_the_head(make_config, make_pairs, tmp_path, readout):
    pairs = make_pairs(60)
    result = train_reward_head(make_config(objective={"readout": readout}), pairs)
    assert RewardHeadResult.model_validate_json((tmp_path / "rm" / "training.json").read_bytes()) == result
    model = RewardModel.from_pretrained(tmp_path / "rm", device="cpu")
    assert model.contract.readout == readout
    head = saved_head(tmp_path / "rm").double().numpy()
    backbone = frozen(make_config().base, tmp_path / "other")
    held_out = split_pairs(pairs, 0.2, 0).held_out
    sides = [side for pair in held_out for side in (pair.chosen, pair.rejected)]
    expected = [read_features(readout, states) @ head for states in backbone.turns(sides)]
    scores = model.score(sides)
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    wins = np.mean([ours > theirs for ours, theirs in zip(scores[::2], scores[1::2], strict=True)])
    assert result.after.accuracy == pytest.approx(wins)
    assert result.after.num_pairs == 12
    assert result.after.nll < result.before.nll
    assert result.after.accuracy > 0.8


def test_it_is_a_vanilla_classifier_whose_other_weights_are_the_bases(make_config, make_pairs, tmp_path):
    config = make_config()
    train_reward_head(config, make_pairs(40))
    classifier, info = AutoModelForSequenceClassification.from_pretrained(tmp_path / "rm", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    base = AutoModelForSequenceClassification.from_pretrained(config.base, num_labels=1).state_dict()
    assert all(torch.equal(w, base[n]) for n, w in classifier.state_dict().items() if n != "score.weight")


def test_the_same_pairs_are_read_dropped_and_held_out_as_in_training(make_config, make_pairs, base, tmp_path):
    pairs = make_pairs(60, num_turns=4)
    pairs[3] = pairs[3].model_copy(update={"rejected": pairs[3].chosen})
    settings = {"max_length": 60, "objective": {"readout": "turn_mean", "per_turn": 0.5}}
    mixture = Mixture((PairSource("a", pairs[:30], 2.0), PairSource("b", pairs[30:], 0.5, {pairs[40].id: 0.3})))
    ours = train_reward_head(make_config(**settings), mixture)
    plain = RewardTrainingConfig(
        base=base, out=tmp_path / "plain", max_steps=1, eval_fraction=0.2, device="cpu", **settings
    )
    theirs = train_reward_model(plain, mixture)
    for name in ("pairs", "sources", "held_out"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.pairs.num_dropped
    assert ours.before.num_pairs == theirs.before.num_pairs
    assert ours.before.nll == pytest.approx(theirs.before.nll, abs=1e-5)
    assert ours.before.accuracy == theirs.before.accuracy


def test_weights_and_margins_reach_the_fit(make_config, make_pairs, tmp_path):
    pairs = make_pairs(40)
    margins = {pair.id: 0.5 for pair in pairs[20:]}
    mixture = Mixture((PairSource("a", pairs[:20], 2.0), PairSource("b", pairs[20:], 1.0, margins)))
    objective = Objective(margin=0.1, label_smoothing=0.1)
    config = make_config(ridge=0.01, eval_fraction=0, objective=objective)
    result = train_reward_head(config, mixture)
    assert result.trials == ()
    assert result.after is None
    backbone = frozen(config.base, tmp_path / "other")
    chosen, rejected = (
        np.stack([states[-1] for states in backbone.turns([getattr(pair, side) for pair in pairs])])
        for side in ("chosen", "rejected")
    )
    weights, own = np.repeat([2.0, 1.0], 20), np.repeat([0.1, 0.6], 20)
    fit = fit_head(chosen, rejected, weights, ridge=0.01, margins=own, label_smoothing=0.1)
    np.testing.assert_allclose(saved_head(tmp_path / "rm"), fit.weight, rtol=1e-3, atol=1e-5)


def test_per_turn_is_minimised_as_in_training(make_config, make_pairs, base, tmp_path):
    """The gradient of the trainer's loss at the fitted head is that of the penalty, so there is nothing to gain."""
    pairs, objective = make_pairs(40, num_turns=3), {"readout": "last", "per_turn": 0.7}
    out = tmp_path / "rm"
    train_reward_head(make_config(ridge=1e-3, eval_fraction=0, objective=objective), pairs)
    loaded = load_checkpoint(out, dtype=torch.float32)
    config = RewardTrainingConfig(base=base, out=out, objective=objective, device="cpu")
    encoded, _ = encode_pairs(loaded.tokens, pairs, every_turn=True)
    optimizer = PairOptimizer(loaded.classifier, Accelerator(cpu=True), config)
    optimizer._accumulate(group_by_seed(encoded, 2048))
    head = loaded.classifier.score.weight
    at_the_fit = float(head.grad.norm())
    optimizer.optimizer.zero_grad()
    head.data *= 0.5
    optimizer._accumulate(group_by_seed(encoded, 2048))
    assert at_the_fit < 0.1 * float(head.grad.norm())


def test_a_run_that_was_killed_resumes_with_its_states(make_config, make_pairs, base, tmp_path):
    write_preferences(make_pairs(40), tmp_path / "pairs.jsonl")
    out = tmp_path / "killed"
    flags = [
        *(str(tmp_path / "pairs.jsonl"), "--base", base, "--out", str(out), "--freeze", "backbone"),
        *("--eval-fraction", "0.2", "--micro-batch-tokens", "32", "--device", "cpu"),
    ]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    killed = subprocess.run([sys.executable, "-c", KILLED, *flags], env=env, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (out / "training.json").exists()
    app = Typer()
    app.command()(train)
    assert CliRunner().invoke(app, flags, catch_exceptions=False).exit_code == 0
    resumed = RewardHeadResult.model_validate_json((out / "training.json").read_bytes())
    pairs = read_preferences(tmp_path / "pairs.jsonl").pairs
    whole = train_reward_head(make_config(micro_batch_tokens=32), pairs)
    assert resumed.num_cached_states > 0 < resumed.num_computed_states
    assert resumed.num_cached_states + resumed.num_computed_states == whole.num_computed_states
    assert resumed.after == whole.after
    assert torch.equal(saved_head(out), saved_head(tmp_path / "rm"))


def test_runs_that_share_a_folder_compute_nothing_twice(make_config, make_pairs, tmp_path):
    pairs = make_pairs(40)
    settings = {"features": tmp_path / "features", "objective": {"readout": "turn_mean"}}
    assert train_reward_head(make_config(**settings), pairs).num_cached_states == 0
    for seed, readout in ((1, "turn_mean"), (2, "last")):
        again = make_config(
            features=tmp_path / "features", out=tmp_path / str(seed), seed=seed, objective={"readout": readout}
        )
        assert train_reward_head(again, pairs).num_computed_states == 0


def test_states_of_another_base_are_not_used_and_that_is_said(make_config, make_pairs, reward_checkpoint, tmp_path):
    pairs, lines = make_pairs(40), list[str]()
    first = train_reward_head(make_config(features=tmp_path / "states"), pairs, on_notice=lines.append)
    assert not any("states" in line for line in (*lines, *first.notes))
    config = make_config(base=str(reward_checkpoint()), features=tmp_path / "states", out=tmp_path / "other")
    other = train_reward_head(config, pairs, on_notice=lines.append)
    assert other.num_cached_states == 0
    said = f"{tmp_path / 'states'} holds hidden states of other bases or contracts, which are not used"
    assert said in other.notes
    assert said in lines


def test_a_reward_model_gets_a_new_head_and_loses_its_bias(make_config, make_pairs, reward_checkpoint, tmp_path):
    classifier = AutoModelForSequenceClassification.from_pretrained(reward_checkpoint())
    weights = classifier.state_dict() | {"score.bias": torch.tensor([3.0])}
    classifier.save_pretrained(tmp_path / "base", state_dict=weights)
    AutoTokenizer.from_pretrained(reward_checkpoint()).save_pretrained(tmp_path / "base")
    result = train_reward_head(make_config(base=str(tmp_path / "base")), make_pairs(60))
    assert "its own head is replaced" in result.description
    saved = load_file(tmp_path / "rm" / "model.safetensors")
    assert "score.bias" not in saved
    assert not torch.equal(saved["score.weight"], classifier.score.weight)


@pytest.mark.parametrize(
    ("settings", "flags"),
    [
        ({"lora_rank": 8}, "--lora-rank"),
        ({"learning_rate": 1e-3, "num_epochs": 2}, "--learning-rate, --num-epochs"),
        ({"objective": {"ranking": "groups"}}, "--ranking"),
        ({"objective": {"center_rewards_coefficient": 0.1}}, "--center-rewards-coefficient"),
    ],
)
def test_settings_of_gradient_descent_are_refused(make_config, settings, flags):
    with pytest.raises(ValidationError, match=rf"does not use {flags}: leave them out"):
        make_config(**settings)


def test_settings_of_the_fit_need_a_frozen_backbone(make_config):
    with pytest.raises(ValidationError, match="--freeze backbone"):
        make_config(freeze="none", ridge=0.1)
    with pytest.raises(InvalidInputError, match="call train_reward_head"):
        train_reward_model(make_config(), [])
    with pytest.raises(InvalidInputError, match="call train_reward_model"):
        train_reward_head(make_config(freeze="none"), [])


def test_one_prompt_cannot_choose_a_ridge(make_config, make_pairs):
    pairs = make_pairs(2)[:1]
    with pytest.raises(InvalidInputError, match="--ridge"):
        train_reward_head(make_config(eval_fraction=0), pairs)
    assert train_reward_head(make_config(eval_fraction=0, ridge=0.1), pairs).ridge == 0.1


def test_a_readout_that_is_not_linear_is_refused_and_can_be_read_afterwards(make_config, make_pairs, tmp_path):
    with pytest.raises(InvalidInputError, match=r"got turn_min.*fit the head with another --readout.*with_readout"):
        train_reward_head(make_config(objective={"readout": "turn_min"}), [])
    train_reward_head(make_config(), make_pairs(40))
    read = RewardModel.from_pretrained(tmp_path / "rm", device="cpu").with_readout("turn_min")
    [pair] = make_pairs(2, num_turns=3)[:1]
    assert read.score([pair.chosen]) == pytest.approx([min(read.score_turns([pair.chosen])[0])], abs=1e-5)
    read.save_pretrained(tmp_path / "low")
    with pytest.raises(InvalidInputError, match="got turn_min"):
        train_reward_head(make_config(base=str(tmp_path / "low"), out=tmp_path / "again"), make_pairs(40))


def test_several_processes_are_refused(make_config, make_pairs, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InvalidInputError, match="expected one process"):
        train_reward_head(make_config(), make_pairs(40))


def test_a_finished_model_is_left_alone(make_config, make_pairs):
    train_reward_head(make_config(), make_pairs(40))
    with pytest.raises(InvalidInputError, match="--overwrite"):
        train_reward_head(make_config(), make_pairs(40))
    assert train_reward_head(make_config(overwrite=True), make_pairs(40)).num_computed_states == 0


def test_an_unfinished_run_is_replaced_only_if_asked_for(make_config, make_pairs, tmp_path):
    checkpoint = tmp_path / "rm" / "checkpoints" / "step-00000001.pt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    with pytest.raises(InvalidInputError, match="unfinished run"):
        train_reward_head(make_config(), make_pairs(40))
    train_reward_head(make_config(overwrite=True), make_pairs(40))
    assert not checkpoint.parent.exists()
