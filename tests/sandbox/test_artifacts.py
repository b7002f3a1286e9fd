"""The two shipped models are small, safe to load, and as good as the docs say."""

from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from music.reward import RewardModel
from music.sandbox import ErrorKind, seed_pairs
from music.sandbox.artifacts import BACKBONE, REWARD_MODEL
from music.sandbox.world.defects import draw_defects


@pytest.fixture(scope="module")
def model():
    return RewardModel.from_pretrained(REWARD_MODEL, device="cpu")


def accuracy(model, pairs):
    rewards = model.score([p.chosen for p in pairs] + [p.rejected for p in pairs])
    return sum(a > b for a, b in zip(rewards[: len(pairs)], rewards[len(pairs) :], strict=True)) / len(pairs)


def test_they_are_small_and_hold_no_pickles():
    files = [path for folder in (BACKBONE, REWARD_MODEL) for path in Path(folder).iterdir()]
    assert sum(path.stat().st_size for path in files) <= 8e6
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".jinja"}


def test_they_are_vanilla_checkpoints():
    assert AutoModelForCausalLM.from_pretrained(BACKBONE).config.vocab_size > 500
    assert AutoModelForSequenceClassification.from_pretrained(REWARD_MODEL).config.num_labels == 1


def test_the_starting_model_ranks_single_turns(model):
    assert accuracy(model, seed_pairs(1500, 31_337, single_turn_share=1.0, label_noise=False)) >= 0.88


@pytest.mark.parametrize("num_turns", [1, 3])
@pytest.mark.parametrize("kind", [ErrorKind.TOPIC, ErrorKind.ASPECT])
def test_it_matches_topic_and_aspect_of_the_last_turn(model, kind, num_turns):
    drawn = draw_defects(kind, num_turns - 1, num_turns, 150, seed=31_337)
    assert accuracy(model, [defect.pair for defect in drawn]) >= 0.80
