"""Hooks on layers: the load-balancing loss of mixtures of experts, and unread tokens left out of the last MLP."""

import pytest
import torch
from accelerate import Accelerator
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

from music.errors import InvalidInputError
from music.reward.packing import TokenSequence, plan_rows
from music.reward.scoring.forward import PackedScorer
from music_trainers.reward.config import RewardTrainingConfig
from music_trainers.reward.distributed import plan_even_rows
from music_trainers.reward.hooks import RouterBalance, skip_unread_tokens
from music_trainers.reward.optimizer import PairOptimizer
from music_trainers.reward.pairs import EncodedPair


def make_config(**changes):
    settings = {"base": "b", "out": "o", "micro_batch_tokens": 60, "max_grad_norm": 1e9}
    return RewardTrainingConfig(**settings | changes)


def make_pairs():
    generator = torch.Generator().manual_seed(1)

    def ids(size):
        return torch.randint(1, 97, (size,), generator=generator).tolist()

    starts = [ids(20) for _ in range(3)]
    sides = [[TokenSequence.read_at_end(start + ids(5)) for _ in range(2)] for start in starts]
    return [EncodedPair(chosen, rejected) for chosen, rejected in sides]


def step_gradients(classifier, pairs, **settings):
    optimizer = PairOptimizer(classifier, Accelerator(cpu=True), make_config(**settings))
    optimizer.scorer.train()
    optimizer.step(pairs, learning_rate=0.0)
    return {name: weight.grad.clone() for name, weight in classifier.named_parameters()}


def plain_loss(classifier, pairs):
    """Return the loss of each row from forwards of one sequence each, weighted by the row's tokens."""
    plan = plan_even_rows([(pair.chosen, pair.rejected) for pair in pairs], 60, 1)
    assert len(plan.rows) > 1
    total = 0.0
    for row in plan.rows:
        merged = None
        for group, places in zip(row.groups, row.places(), strict=True):
            for side, own in zip((pairs[group].chosen, pairs[group].rejected), places, strict=True):
                output = classifier.model(input_ids=torch.tensor([side.ids]), output_router_logits=True)
                merged = merged or [torch.zeros(row.num_tokens, 4) for _ in output.router_logits]
                merged = [m.index_put((own,), logits) for m, logits in zip(merged, output.router_logits, strict=True)]
        total = total + load_balancing_loss_func(tuple(merged), 4, 2) * row.num_tokens / plan.num_tokens
    return total


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_routers_get_the_gradient_of_the_loss_written_out(make_classifier, family, checkpointing):
    pairs = make_pairs()
    classifier = make_classifier(family)
    if checkpointing:
        classifier.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    without = step_gradients(classifier, pairs)
    ours = step_gradients(classifier, pairs, aux_loss=0.5)
    vanilla = make_classifier(family)
    (0.5 * plain_loss(vanilla, pairs)).backward()
    routers = [name for name in ours if name.endswith("gate.weight")]
    assert routers
    for name, weight in vanilla.named_parameters():
        expected = without[name] if weight.grad is None else without[name] + weight.grad
        assert torch.allclose(ours[name], expected, atol=1e-6), name
    assert all((ours[name] - without[name]).abs().max() > 1e-4 for name in routers)


def test_the_base_s_own_weight_holds_where_its_config_asks_for_the_loss(make_classifier):
    def weight(family, aux_loss=None, **changes):
        return RouterBalance.of(make_classifier(family, **changes), make_config(aux_loss=aux_loss)).weight

    assert weight("mixtral") == weight("llama") == 0.0
    assert weight("mixtral", output_router_logits=True, router_aux_loss_coef=0.02) == 0.02
    assert weight("mixtral", 0.0, output_router_logits=True) == 0.0


def test_a_model_without_routers_is_refused(make_classifier):
    with pytest.raises(InvalidInputError, match=r"expected a mixture of experts .* got LlamaForSequenceClassification"):
        RouterBalance.of(make_classifier("llama"), make_config(aux_loss=0.1))


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
def test_rewards_and_gradients_are_those_of_all_tokens(make_classifier, family, recompute):
    classifier, row = make_classifier(family).train(), make_row()
    if recompute:
        classifier.activation_checkpointing_enable({"use_reentrant": False})
    scorer = PackedScorer(classifier, "gather")
    expected = scorer(row)
    wanted = gradients(classifier, expected)
    with skip_unread_tokens(classifier, row):
        sizes = last_mlp_sizes(classifier)
        found = scorer(row)
        got = gradients(classifier, found)
    assert sizes == [3] * (1 + recompute)  # of 62 tokens; both sides read the same one in what they share
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    for name in wanted:
        torch.testing.assert_close(got[name], wanted[name], rtol=1e-4, atol=1e-6)
    scorer(row)
    assert sizes[-1] == row.num_tokens  # afterwards all are computed again


def test_experts_see_all_tokens(make_classifier):
    classifier, row = make_classifier("qwen3_moe").train(), make_row()
    sizes = last_mlp_sizes(classifier)
    with skip_unread_tokens(classifier, row):
        PackedScorer(classifier, "gather")(row)
    assert sizes == [row.num_tokens]
