import pytest
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from music.reward.tokens.contract import RewardStatistics
from music_trainers.reward.history import History, Throughput, flops_per_token
from music_trainers.reward.records import HeldOutEvaluation, HeldOutMetrics


def evaluation(step, nll):
    metrics = HeldOutMetrics(num_pairs=5, accuracy=0.5, nll=nll, mean_margin=0.0)
    return HeldOutEvaluation(
        step=step, metrics=metrics, rewards=RewardStatistics(mean=0.0, std=1.0, num_conversations=10)
    )


def test_the_best_evaluation_is_the_first_with_the_lowest_loss():
    history = History(evaluations=[evaluation(s, nll) for s, nll in ((1, 0.7), (2, 0.4), (3, 0.5), (4, 0.4))])
    assert history.best.step == 2
    assert history.num_stale == 2
    assert (History().best, History().num_stale) == (None, 0)


def test_only_several_high_losses_in_a_row_mean_divergence():
    calm = [0.6] * 50
    assert not History([*calm, 9.0, 9.0, 9.0, 9.0, 0.6, 9.0]).has_diverged
    assert History([*calm, 9.0, 9.0, 9.0, 9.0, 9.0]).has_diverged
    assert History([*calm, 9.0, 9.0]).num_suspicious == 2
    assert not History([0.7] * 10 + [9.0] * 5).has_diverged, "too few losses to compare with"
    assert not History([0.01] * 50 + [0.5] * 5).has_diverged, "still better than a model that knows nothing"


def test_a_history_comes_back_as_it_was():
    history = History([0.5, 0.4], [evaluation(1, 0.3)], 17)
    assert History.from_state(history.state()) == history


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
