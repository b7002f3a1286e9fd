"""Tokens that no reward is read at are left out of the last layer's MLP, and nothing else changes."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from music.reward.packing import TokenSequence, plan_rows
from music.reward.scoring.forward import PackedScorer
from music_trainers.reward.step.unread import unread_left_out

SIZES = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "num_labels": 1,
    "pad_token_id": 0,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "num_local_experts": 4}


def make_classifier(family):
    torch.manual_seed(0)
    experts = EXPERTS if family in ("qwen3_moe", "mixtral") else {}
    return AutoModelForSequenceClassification.from_config(AutoConfig.for_model(family, **SIZES, **experts)).train()


def make_row():
    shared = [3 + i * i % 89 for i in range(40)]
    sequences = [TokenSequence([*shared, *range(5, 9 + 7 * k)], (20, 43 + 7 * k)) for k in range(2)]
    (row,) = plan_rows([sequences], 1000).rows
    return row


def last_mlp_sizes(classifier):
    """Note the tokens that the last layer's MLP computes, call by call."""
    sizes = []
    classifier.model.layers[-1].mlp.register_forward_pre_hook(lambda mlp, args: sizes.append(args[0].shape[-2]))
    return sizes


def gradients(classifier, rewards):
    classifier.zero_grad()
    rewards.square().sum().backward()
    return {name: weights.grad.clone() for name, weights in classifier.named_parameters()}


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("family", ["llama", "gemma2", "qwen3", "olmo2"])
def test_rewards_and_gradients_are_those_of_all_tokens(family, recompute):
    classifier, row = make_classifier(family), make_row()
    if recompute:
        classifier.activation_checkpointing_enable({"use_reentrant": False})
    scorer = PackedScorer(classifier, "gather")
    expected = scorer(row)
    wanted = gradients(classifier, expected)
    with unread_left_out(classifier, row):
        sizes = last_mlp_sizes(classifier)
        found = scorer(row)
        got = gradients(classifier, found)
    assert sizes == [3] * (1 + recompute)  # of 62 tokens; both sides read the same one in what they share
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    for name in wanted:
        torch.testing.assert_close(got[name], wanted[name], rtol=1e-4, atol=1e-6)
    scorer(row)
    assert sizes[-1] == row.num_tokens  # afterwards all are computed again


def test_experts_see_all_tokens():
    classifier, row = make_classifier("qwen3_moe"), make_row()
    sizes = last_mlp_sizes(classifier)
    with unread_left_out(classifier, row):
        PackedScorer(classifier, "gather")(row)
    assert sizes == [row.num_tokens]
