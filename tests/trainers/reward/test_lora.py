from copy import deepcopy

import pytest
import torch
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from music.reward import RewardModel
from music.reward.loading import load_checkpoint
from music.reward.packing import TokenSequence, plan_rows
from music.reward.scoring.forward import PackedScorer
from music_trainers import RewardTrainingConfig, train_reward_model
from music_trainers.reward import trainer
from music_trainers.reward.trainable import add_adapters, merge_adapters


def test_adapters_and_the_head_are_trained_and_nothing_else(reward_checkpoint):
    classifier = load_checkpoint(reward_checkpoint("gemma2"), dtype=torch.float32).classifier
    num_linear = sum(isinstance(module, torch.nn.Linear) for module in classifier.modules()) - 1
    before = set(classifier.state_dict())
    adapters = add_adapters(classifier, 4, None)
    trained = [name for name, weight in classifier.named_parameters() if weight.requires_grad]
    assert len([name for name in trained if "lora_" in name]) == 2 * num_linear
    assert [name for name in trained if "lora_" not in name] == ["score.weight"]
    assert set(merge_adapters(adapters).state_dict()) == before


def test_the_merged_result_is_vanilla_and_scores_as_it_was_evaluated(language_checkpoint, make_pairs, tmp_path):
    base = language_checkpoint()
    config = RewardTrainingConfig(
        base=str(base), out=tmp_path, lora_rank=4, learning_rate=1e-2, batch_size=8, num_epochs=3, device="cpu"
    )
    held_out = make_pairs(20, seed=1)
    result = train_reward_model(config, make_pairs(120), held_out)
    assert "LoRA of rank 4" in result.description
    assert result.after.accuracy > result.before.accuracy
    assert not any("lora" in name for name in load_file(tmp_path / "model.safetensors"))
    AutoModelForSequenceClassification.from_pretrained(tmp_path)
    model = RewardModel.from_pretrained(tmp_path, device="cpu")
    chosen, rejected = (model([getattr(pair, side) for pair in held_out]) for side in ("chosen", "rejected"))
    margin = sum(c - r for c, r in zip(chosen, rejected, strict=True)) / len(chosen)
    assert margin == pytest.approx(result.after.mean_margin, abs=1e-4)


def test_the_default_rate_fits_the_kind_of_training():
    assert RewardTrainingConfig(base="b", out="o").learning_rate == 2e-6
    assert RewardTrainingConfig(base="b", out="o", lora_rank=8).learning_rate == 1e-4
    assert RewardTrainingConfig(base="b", out="o", lora_rank=8, learning_rate=3e-5).learning_rate == 3e-5


@pytest.mark.parametrize("states", ["split_master", "bf16_stochastic"])
def test_adapters_of_a_bf16_base_are_merged_whole(language_checkpoint, make_pairs, tmp_path, monkeypatch, states):
    """An adapter's part of a weight is mostly less than half a step of bf16, and would be lost in a rounded sum."""
    found = {}

    def watched(adapters):
        classifier = deepcopy(adapters.model).float()
        found["rewards"] = rewards(PackedScorer(classifier.eval()))
        found["delta"] = {
            name: module.get_delta_weight("default")
            for name, module in classifier.named_modules()
            if isinstance(module, LoraLayer)
        }
        return merge_adapters(adapters)

    def rewards(scorer):
        rows = plan_rows([[TokenSequence.read_at_end([9, 8, 7, 6]), TokenSequence.read_at_end([9, 8, 30])]], 99).rows
        return scorer(rows[0])

    monkeypatch.setattr(trainer, "merge_adapters", watched)
    base = language_checkpoint()
    config = RewardTrainingConfig(
        base=str(base), out=tmp_path, lora_rank=4, learning_rate=1e-4, states=states, max_steps=4, device="cpu"
    )
    result = train_reward_model(config, make_pairs(40))
    assert (result.saved_dtype, result.merged_adapters) == ("float32", True)
    saved, before = load_file(tmp_path / "model.safetensors"), load_file(base / "model.safetensors")
    assert {weight.dtype for weight in saved.values()} == {torch.float32}
    for name, delta in found["delta"].items():
        learnt = saved[f"{name}.weight"] - before[f"{name}.weight"].bfloat16().float()
        assert (learnt - delta).norm() < 1e-2 * delta.norm(), name
    reloaded = load_checkpoint(tmp_path, dtype=torch.float32).classifier
    assert torch.allclose(rewards(PackedScorer(reloaded)), found["rewards"], atol=1e-6)
