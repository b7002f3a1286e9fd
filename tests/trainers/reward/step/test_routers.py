"""The load-balancing loss of mixtures of experts."""

import pytest
import torch
from accelerate import Accelerator
from transformers import AutoConfig, AutoModelForSequenceClassification
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

from music.errors import InvalidInputError
from music.reward.packing import TokenSequence
from music_trainers.reward.config import RewardTrainingConfig
from music_trainers.reward.pairs.encoding import EncodedPair
from music_trainers.reward.step.distributed import plan_shared_rows
from music_trainers.reward.step.optimization import PairOptimizer
from music_trainers.reward.step.routers import RouterBalance

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
EXPERTS = {
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "mlp_only_layers": [0]},
}


def make_classifier(family, **changes):
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **SIZES, **EXPERTS.get(family, {}), **changes)
    return AutoModelForSequenceClassification.from_config(config, attn_implementation="eager")


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


def gradients(classifier, pairs, **settings):
    optimizer = PairOptimizer(classifier, Accelerator(cpu=True), make_config(**settings))
    optimizer.scorer.train()
    optimizer.step(pairs, learning_rate=0.0)
    return {name: weight.grad.clone() for name, weight in classifier.named_parameters()}


def plain_loss(classifier, pairs):
    """Return the loss of each row from forwards of one sequence each, weighted by the row's tokens."""
    plan = plan_shared_rows([(pair.chosen, pair.rejected) for pair in pairs], 60, 1)
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


@pytest.mark.parametrize("family", sorted(EXPERTS))
@pytest.mark.parametrize("checkpointing", [False, True])
def test_routers_get_the_gradient_of_the_loss_written_out(family, checkpointing):
    pairs = make_pairs()
    classifier = make_classifier(family)
    if checkpointing:
        classifier.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    without = gradients(classifier, pairs)
    ours = gradients(classifier, pairs, aux_loss=0.5)
    vanilla = make_classifier(family)
    (0.5 * plain_loss(vanilla, pairs)).backward()
    routers = [name for name in ours if name.endswith("gate.weight")]
    assert routers
    for name, weight in vanilla.named_parameters():
        expected = without[name] if weight.grad is None else without[name] + weight.grad
        assert torch.allclose(ours[name], expected, atol=1e-6), name
    assert all((ours[name] - without[name]).abs().max() > 1e-4 for name in routers)


def test_the_base_s_own_weight_holds_where_its_config_asks_for_the_loss():
    def weight(family, aux_loss=None, **changes):
        return RouterBalance.of(make_classifier(family, **changes), make_config(aux_loss=aux_loss)).weight

    assert weight("mixtral") == weight("llama") == 0.0
    assert weight("mixtral", output_router_logits=True, router_aux_loss_coef=0.02) == 0.02
    assert weight("mixtral", 0.0, output_router_logits=True) == 0.0


def test_a_model_without_routers_is_refused():
    with pytest.raises(InvalidInputError, match=r"expected a mixture of experts .* got LlamaForSequenceClassification"):
        RouterBalance.of(make_classifier("llama"), make_config(aux_loss=0.1))
