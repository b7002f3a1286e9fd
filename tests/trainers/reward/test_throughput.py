import pytest
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from music_trainers.reward.throughput import Throughput, flops_per_token


def test_flops_are_six_for_each_weight_that_multiplies():
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = LlamaForSequenceClassification(LlamaConfig(vocab_size=100, num_labels=1, **shape))
    linear = sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear))
    assert flops_per_token(model) == 6 * linear
    model.model.requires_grad_(False)
    assert flops_per_token(model) == 4 * linear + 2 * model.score.weight.numel()


def test_the_share_of_the_peak_counts_what_was_computed():
    speed = Throughput(flops_per_token=1000, peak_flops=1e6, num_tokens=200, num_computed=100)
    speed.began -= 100
    assert speed.model_flops_share == pytest.approx(speed.tokens_per_second * 0.5 * 1000 / 1e6, rel=0.1)
    assert Throughput(1000, None).model_flops_share is None
