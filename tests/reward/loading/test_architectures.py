"""What transformers can build is scored as by its own forward pass, or refused when it is loaded.

Tiny random models of each architecture read sequences beyond their windows and rope boundaries: packed, turn by turn,
as candidates behind a cache, and in a step of training.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import CONFIG_MAPPING, PreTrainedModel

from music.reward.attention import PackedAttentionError
from music.reward.loading.architecture import classifier_class
from music.reward.packing import TokenSequence, plan_rows
from music.reward.scoring.cached_scorer import CachedScorer
from music.reward.scoring.self_test import make_scorer
from music.reward.scoring.sequence_scorer import SequenceScorer
from music_trainers.reward.hooks import skip_unread_tokens

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "pad_token_id": 0,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "sliding_window": 24,
    "use_sliding_window": True,
    "max_window_layers": 1,
    "num_labels": 1,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 0,
    "num_shared_experts": 1,
    "n_shared_experts": 1,
    "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": 97,
}
# Heads of their own size: the width over the heads, or in two parts (multi-head latent attention).
PLAIN_HEADS: dict[str, Any] = {"head_dim": 8, "num_key_value_heads": 4}
LATENT_HEADS: dict[str, Any] = {
    "num_key_value_heads": 4,
    "head_dim": 8,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
}


def longrope(num_factors: int, **more: float) -> dict[str, Any]:
    factors = {"short_factor": [1.0] * num_factors, "long_factor": [3.0 + i for i in range(num_factors)]}
    parameters = {"rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 70} | factors | more
    return {"rope_parameters": parameters, "original_max_position_embeddings": 70}


COMMON = [
    "afmoe",
    "apertus",
    "arcee",
    "aria_text",
    "cohere",
    "cohere2",
    "cwm",
    "dots1",
    "ernie4_5",
    "ernie4_5_moe",
    "exaone4",
    "flex_olmo",
    "gemma",
    "gemma2",
    "gemma3_text",
    "gemma4_text",
    "glm",
    "glm4",
    "glm4_moe",
    "gpt2",
    "gpt_bigcode",
    "gpt_neox",
    "granite",
    "granitemoe",
    "granitemoeshared",
    "hunyuan_v1_dense",
    "hunyuan_v1_moe",
    "jais2",
    "jetmoe",
    "llama",
    "minimax_m2",
    "ministral",
    "mistral",
    "mixtral",
    "nanochat",
    "olmo",
    "olmo2",
    "olmo3",
    "opt",
    "phi",
    "phi3",
    "phimoe",
    "qwen2",
    "qwen2_moe",
    "qwen3",
    "qwen3_moe",
    "seed_oss",
    "smollm3",
    "solar_open",
    "starcoder2",
    "vaultgemma",
]
WITHOUT_SIZE = {"head_dim": None}  # some configurations compute it

EXACT: dict[str, dict[str, Any]] = {
    **{name: {} for name in COMMON},
    **dict.fromkeys(("bitnet", "diffllama", "helium", "olmoe", "persimmon", "biogpt"), PLAIN_HEADS),
    **dict.fromkeys(("deepseek_v2", "deepseek_v3", "glm4_moe_lite", "longcat_flash", "minicpm3"), LATENT_HEADS),
    "llama with longrope": longrope(8),
    "phi3 with longrope": PLAIN_HEADS | longrope(4),
    "phimoe with longrope": PLAIN_HEADS | longrope(4, short_mscale=1.1, long_mscale=1.3),
    "smollm3 with windows": {"no_rope_layers": [0, 1]},
    "llama with yarn": {
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 1e4,
            "factor": 2.0,
            "original_max_position_embeddings": 99,
        }
    },
    "llama with dynamic": {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
    "qwen2_moe without windows": {"use_sliding_window": False},
}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "bloom": ({}, "its attention cannot be replaced"),
    "falcon": (WITHOUT_SIZE, "its attention cannot be replaced"),
    "mpt": ({}, "its attention cannot be replaced"),
    "gpt_oss": ({}, "it uses s_aux"),
    "granite_swa": ({}, "it uses s_aux"),
    "stablelm": (PLAIN_HEADS, "does not pass its arguments on to its layers"),
    "nemotron": ({}, "does not pass its arguments on to its layers"),
    "doge": ({}, "it uses attention_mask"),
    "llama4_text": ({}, "its layers are chunked_attention"),
    "qwen3_next": ({}, "its layers are linear_attention"),
    "lfm2": ({"layer_types": ["conv", "full_attention"]}, "its layers are conv"),
}


WINDOWED = (
    *(
        "afmoe",
        "cohere2",
        "exaone4",
        "gemma2",
        "gemma3_text",
        "gemma4_text",
        "ministral",
        "mistral",
        "mixtral",
        "olmo3",
    ),
    *("phi3", "phimoe", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "smollm3 with windows", "starcoder2", "vaultgemma"),
)


def build(name: str, settings: dict[str, Any]) -> PreTrainedModel:
    """Return a random classifier in fp32 whose rewards are of the order of 1."""
    kind = name.partition(" ")[0]
    torch.manual_seed(0)
    config = CONFIG_MAPPING[kind](**{k: v for k, v in (SIZES | settings).items() if v is not None})
    make: Callable[..., PreTrainedModel] = classifier_class(kind, config)._from_config
    classifier = make(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for weights in classifier.parameters():
            weights.mul_(4 if weights.ndim > 1 else 1)
    return classifier


def draw() -> list[TokenSequence]:
    """Return candidates of one history, whose turns are read, and a conversation that has nothing to do with them."""
    random = Random(1)
    history = random.choices(range(1, 97), k=60)
    candidates = [history + random.choices(range(1, 97), k=num) for num in (40, 70, 5)]
    other = random.choices(range(1, 97), k=120)
    return [TokenSequence(ids, (19, 59, len(ids) - 1)) for ids in (*candidates, other)]


def plain(classifier: Any, sequences: Sequence[TokenSequence]) -> list[Tensor]:
    """Return the rewards of each sequence, each by a forward pass of the conversation cut there."""
    classifier.set_attn_implementation("eager")
    backbone = getattr(classifier, classifier.base_model_prefix)
    return [
        torch.cat(
            [
                classifier.score(
                    backbone(input_ids=torch.tensor([sequence.ids[: read + 1]]), use_cache=False).last_hidden_state[
                        0, -1
                    ]
                )
                for read in sequence.reads
            ]
        )
        for sequence in sequences
    ]


def gradients(classifier: PreTrainedModel, rewards: Tensor) -> Tensor:
    """Return the gradient of a loss over the rewards, for all weights in one."""
    classifier.zero_grad()
    (rewards * torch.arange(1, len(rewards) + 1)).mean().backward()
    return torch.cat([weight.grad.flatten() for weight in classifier.parameters() if weight.grad is not None])


@pytest.mark.parametrize("name", EXACT)
def test_scores_and_a_step_of_training_are_exact(name: str):
    classifier, sequences = build(name, EXACT[name]), draw()
    expected = plain(classifier, sequences)
    scale = float(torch.cat(expected).detach().abs().max())
    wanted = gradients(classifier, torch.cat(expected))
    scorer = make_scorer(classifier)
    cached = CachedScorer(scorer, 10_000)
    found = {
        "packed": SequenceScorer(scorer).rewards(sequences),
        "turn by turn": [
            [
                reward
                for read in sequence.reads
                for (reward,) in cached.rewards([TokenSequence.read_at_end(sequence.ids[: read + 1])])
            ]
            for sequence in sequences
        ],
        "candidates": CachedScorer(scorer, 10_000).rewards(sequences[:3]) + cached.rewards(sequences[3:]),
    }
    for what, rewards in found.items():
        for own, right in zip(rewards, expected, strict=True):
            torch.testing.assert_close(
                torch.tensor(own),
                right.detach(),
                rtol=0,
                atol=2e-5 * scale,
                msg=lambda text, what=what: f"{what}: {text}",
            )
    (row,) = plan_rows([sequences[:3], sequences[3:]], 10_000).rows
    with skip_unread_tokens(classifier, row):
        by_group = dict(zip(row.groups, row.split(scorer(row)), strict=True))
        got = gradients(classifier, torch.cat([reward for group in sorted(by_group) for reward in by_group[group]]))
    assert float((got - wanted).norm() / wanted.norm()) < 1e-4


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_wrong_is_refused_at_load(name: str):
    settings, reason = REFUSED[name]
    with pytest.raises(PackedAttentionError, match=reason):
        make_scorer(build(name, settings))


@pytest.mark.parametrize("name", WINDOWED)
@torch.no_grad()
def test_sequences_cross_the_windows(name: str):
    narrow, wide = (build(name, EXACT[name] | {"sliding_window": window}) for window in (24, 400))
    rewards = [plain(classifier, draw()) for classifier in (narrow, wide)]
    assert all(float((own - other)[-1].abs()) > 1e-3 for own, other in zip(*rewards, strict=True))
