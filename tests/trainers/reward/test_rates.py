import pytest
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from music.errors import InvalidInputError
from music_trainers import RewardTrainingConfig
from music_trainers.reward.rates import require_fitting_rate


def model(hidden_size):
    shape = {"vocab_size": 32_000, "num_attention_heads": 8, "num_labels": 1, "num_hidden_layers": 2}
    with torch.device("meta"):  # no memory
        config = LlamaConfig(hidden_size=hidden_size, intermediate_size=4 * hidden_size, **shape)
        return LlamaForSequenceClassification(config)


def config(**settings):
    return RewardTrainingConfig(base="base", out="out", **settings)


def test_a_lora_rate_for_a_large_model_is_refused_and_the_message_says_what_to_do():
    with pytest.raises(
        InvalidInputError, match=r"rate 0\.0001: expected less than 0\.0001 .*M parameters.*--lora-rank"
    ):
        require_fitting_rate(config(learning_rate=1e-4), model(2048))


@pytest.mark.parametrize("settings", [{"lora_rank": 8}, {"allow_large_rate": True}, {"learning_rate": 5e-5}])
def test_it_passes_with_adapters_or_if_insisted_on_or_at_a_lower_rate(settings):
    require_fitting_rate(config(**{"learning_rate": 1e-3} | settings), model(2048))


def test_small_models_take_any_rate():
    require_fitting_rate(config(learning_rate=1e-2), model(256))
