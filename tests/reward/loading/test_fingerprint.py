import shutil

import pytest
import torch

from music.reward import RewardModel


@pytest.fixture(scope="module")
def checkpoint(reward_checkpoint):
    return reward_checkpoint()


@pytest.fixture
def model(checkpoint):
    return RewardModel.from_pretrained(checkpoint, device="cpu")


def test_a_copy_is_the_same_model(model, checkpoint, tmp_path):
    shutil.copytree(checkpoint, tmp_path / "moved")
    assert RewardModel.from_pretrained(tmp_path / "moved", device="cpu").fingerprint == model.fingerprint
    model.save_pretrained(tmp_path / "saved")
    assert RewardModel.from_pretrained(tmp_path / "saved", device="cpu").fingerprint == model.fingerprint


def test_what_changes_scores_changes_it(model, checkpoint):
    bf16 = RewardModel.from_pretrained(checkpoint, device="cpu", dtype=torch.bfloat16)
    shorter = RewardModel(model._classifier, model.tokens.with_contract(max_length=64), "cpu")
    changed = RewardModel.from_pretrained(checkpoint, device="cpu")
    with torch.no_grad():
        changed._classifier.score.weight[0, 0] += 1e-6
    others = [bf16, shorter, changed, model.with_readout("turn_mean")]
    assert len({model.fingerprint, *(other.fingerprint for other in others)}) == 5
