"""What is trained of a model, and whether dropout is drawn."""

import json
from types import SimpleNamespace

import pytest
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from music.errors import InvalidInputError
from music_trainers import RewardTrainingConfig, train_reward_model
from music_trainers.reward.run import TrainingRun
from music_trainers.reward.trainable import make_trainable, require_fitting_rate

DROPOUT = {
    "llama": {"attention_dropout": 0.5},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "resid_pdrop": 0.5, "embd_pdrop": 0.5, "attn_pdrop": 0.5},
    "phi": {"resid_pdrop": 0.5, "embd_pdrop": 0.5},
    "gpt_neox": {"hidden_dropout": 0.5, "attention_dropout": 0.5},
    # Reads its config while it computes, and not its layers.
    "falcon": {"head_dim": None, "hidden_dropout": 0.5, "new_decoder_architecture": True, "num_kv_heads": 2},
}


def make_config(**changes):
    return RewardTrainingConfig(base="base", out="out", **changes)


@pytest.mark.parametrize("family", sorted(DROPOUT))
@pytest.mark.parametrize("dropout", [False, True])
def test_dropout_is_drawn_only_if_asked_for(make_classifier, family, dropout):
    classifier = make_classifier(family, **DROPOUT[family])
    make_trainable(classifier, make_config(dropout=dropout))
    ids = torch.arange(1, 30)[None]
    classifier.eval()
    expected = classifier(ids).logits
    classifier.train()
    assert torch.equal(classifier(ids).logits, expected) != dropout


@pytest.fixture(scope="module")
def base_with_dropout(language_checkpoint):
    base = language_checkpoint()
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"attention_dropout": 0.3}))
    return str(base)


class StopError(Exception):
    """Ends a run from outside, as a crash would."""


def stop(step):
    if step.step == 3:
        raise StopError


def test_a_resumed_run_draws_the_dropout_of_the_uninterrupted_one(base_with_dropout, make_pairs, tmp_path):
    def train(name, **changes):
        on_step = changes.pop("on_step", lambda step: None)
        settings = {"max_steps": 5, "batch_size": 8, "checkpoint_every": 2, "eval_fraction": 0.0, "device": "cpu"}
        settings |= {"base": base_with_dropout, "out": tmp_path / name, "learning_rate": 1e-3, "dropout": True}
        config = RewardTrainingConfig(**settings | changes)
        return train_reward_model(config, make_pairs(40), on_step=on_step).losses

    whole = train("whole")
    with pytest.raises(StopError):
        train("parts", on_step=stop)
    assert train("parts", resume=True) == whole
    assert train("without", dropout=False) != whole
    for name in ("whole", "without"):
        assert json.loads((tmp_path / name / "config.json").read_text())["attention_dropout"] == 0.3


def test_each_process_draws_masks_of_its_own_in_each_step():
    def draw(process, step):
        run = SimpleNamespace(config=make_config(seed=1), accelerator=SimpleNamespace(process_index=process))
        TrainingRun.seed_noise(run, step)
        return torch.rand(1).item()

    draws = [draw(process, step) for process in (0, 1) for step in (0, 1)]
    assert len(set(draws)) == 4
    assert draw(1, 1) == draws[-1]


def make_llama(hidden_size):
    shape = {"vocab_size": 32_000, "num_attention_heads": 8, "num_labels": 1, "num_hidden_layers": 2}
    with torch.device("meta"):  # no memory
        config = LlamaConfig(hidden_size=hidden_size, intermediate_size=4 * hidden_size, **shape)
        return LlamaForSequenceClassification(config)


def test_a_lora_rate_for_a_large_model_is_refused_and_the_message_says_what_to_do():
    with pytest.raises(
        InvalidInputError, match=r"rate 0\.0001: expected less than 0\.0001 .*M parameters.*--lora-rank"
    ):
        require_fitting_rate(make_config(learning_rate=1e-4), make_llama(2048))


@pytest.mark.parametrize("settings", [{"lora_rank": 8}, {"allow_large_rate": True}, {"learning_rate": 5e-5}])
def test_it_passes_with_adapters_or_if_insisted_on_or_at_a_lower_rate(settings):
    require_fitting_rate(make_config(**{"learning_rate": 1e-3} | settings), make_llama(2048))


def test_small_models_take_any_rate():
    require_fitting_rate(make_config(learning_rate=1e-2), make_llama(256))
