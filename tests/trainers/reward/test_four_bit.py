"""QLoRA: adapters over a base in 4 bits; what is saved scores as what was trained."""

import sys

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from music.errors import InvalidInputError
from music.reward import RewardModel
from music_trainers import RewardTrainingConfig, train_reward_model
from music_trainers.reward import trainer
from music_trainers.reward.trainable import merge_adapters


def config_of(base, out, **changes):
    settings = {"lora_rank": 4, "load_in_4bit": True, "learning_rate": 1e-2, "batch_size": 8, "device": "cpu"}
    return RewardTrainingConfig(base=str(base), out=out, **settings | changes)


def margin(folder, pairs):
    model = RewardModel.from_pretrained(folder, device="cpu")
    sides = (model([getattr(pair, side) for pair in pairs]) for side in ("chosen", "rejected"))
    return sum(chosen - rejected for chosen, rejected in zip(*sides, strict=True)) / len(pairs)


def test_the_saved_model_is_the_quantised_base_and_what_adapters_learnt(
    language_checkpoint, make_pairs, tmp_path, monkeypatch
):
    found = {}

    def watched(adapters):
        for name, layer in adapters.model.named_modules():
            if isinstance(base := getattr(layer, "base_layer", None), Linear4bit):
                whole = dequantize_4bit(base.weight.data, base.weight.quant_state)
                found[name] = whole + layer.get_delta_weight("default")
        return merge_adapters(adapters)

    monkeypatch.setattr(trainer, "merge_adapters", watched)
    held_out = make_pairs(20, seed=1)
    result = train_reward_model(config_of(language_checkpoint(), tmp_path, num_epochs=3), make_pairs(120), held_out)
    assert "LoRA of rank 4 over 4 bits" in result.description
    assert result.after.accuracy > result.before.accuracy
    saved = load_file(tmp_path / "model.safetensors")
    assert len(found) == 2 * 7
    for name, weight in found.items():
        torch.testing.assert_close(saved[f"{name}.weight"], weight, rtol=0, atol=1e-6)
    AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert margin(tmp_path, held_out) == pytest.approx(result.after.mean_margin, abs=1e-4)


def test_a_resumed_run_is_the_same_and_its_checkpoints_hold_what_is_trained_alone(
    language_checkpoint, make_pairs, tmp_path
):
    base, pairs = language_checkpoint(), make_pairs(40)
    settings = {"max_steps": 4, "checkpoint_every": 2, "eval_fraction": 0.1}

    class StopError(Exception):
        pass

    def stop(step):
        if step.step == 3:
            raise StopError

    train_reward_model(config_of(base, tmp_path / "whole", **settings), pairs)
    with pytest.raises(StopError):
        train_reward_model(config_of(base, tmp_path / "cut", **settings), pairs, on_step=stop)
    (last,) = (tmp_path / "cut" / "checkpoints").glob("step-*.pt")
    kept = torch.load(last, weights_only=True)["classifier"]
    assert all("lora_" in name or name == "score.weight" for name in kept)
    train_reward_model(config_of(base, tmp_path / "cut", resume=True, **settings), pairs)
    whole, cut = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_what_is_missing_is_named(language_checkpoint, make_pairs, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"also set lora_rank \(--lora-rank 16\)"):
        RewardTrainingConfig(base="b", out="o", load_in_4bit=True)
    monkeypatch.setitem(sys.modules, "bitsandbytes.nn.modules", None)
    with pytest.raises(InvalidInputError, match="pip install 'music-rm\\[qlora\\]'"):
        train_reward_model(config_of(language_checkpoint(), tmp_path), make_pairs(20))
