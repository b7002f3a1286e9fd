"""The self-test catches faults that give wrong scores without a sign, and is remembered."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from music.reward.attention import BACKENDS, PackedAttentionError, SegmentTable
from music.reward.attention.backends import _guarded
from music.reward.attention.gather import gather_attention
from music.reward.packing import TokenSequence, plan_rows
from music.reward.scoring.forward import PackedScorer
from music.reward.scoring.probe import measure_errors
from music.reward.scoring.rope import RopeLimits
from music.reward.scoring.self_test import make_scorer, require_exact
from music.reward.scoring.states import StatePool

LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10_000.0,
    "short_factor": [1.0] * 8,
    "long_factor": [3.0 + i for i in range(8)],
    "original_max_position_embeddings": 128,
}
MSCALES = {"short_mscale": 1.1, "long_mscale": 1.3}
WINDOWS = {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 1}
MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def assert_caught(scorer: PackedScorer, *faulty: str) -> None:
    errors = measure_errors(scorer)
    assert {what for what, error in errors.items() if error > 0.01} == set(faulty), errors
    with pytest.raises(PackedAttentionError, match="fails the self-test") as caught:
        require_exact(scorer)
    assert all(what in str(caught.value) for what in faulty)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("llama", {}),
        ("llama", {"rope_parameters": LONGROPE}),
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10_000.0}}),
        ("qwen2_moe", WINDOWS | MOE | {"head_dim": 8}),
        ("gemma2", {"sliding_window": 64, "attn_logit_softcapping": 5.0}),
        ("diffllama", {"num_key_value_heads": 4, "head_dim": 8}),
    ],
)
def test_what_is_exact_passes(kind: str, settings: dict[str, Any], make_classifier: Callable[..., PreTrainedModel]):
    classifier: Any = make_classifier(kind, **settings)
    config, head = classifier.config.to_dict(), classifier.score
    scorer = make_scorer(classifier)
    assert max(measure_errors(scorer).values()) < 1e-4
    assert classifier.config.to_dict() == config
    assert classifier.score is head
    assert scorer.rope == RopeLimits.of(classifier.config)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("llama", {"rope_parameters": LONGROPE}),
        ("phi3", {"rope_parameters": LONGROPE, "original_max_position_embeddings": 128}),
        ("phimoe", {"rope_parameters": LONGROPE | MSCALES, "original_max_position_embeddings": 128}),
    ],
)
def test_rewards_beyond_the_boundary_are_the_same_after_it(
    kind: str, settings: dict[str, Any], make_classifier: Callable[..., PreTrainedModel]
):
    ids = torch.randint(1, 97, (150,), generator=torch.Generator().manual_seed(0))
    row = plan_rows([[TokenSequence(ids.tolist(), (149,))]], 1000).rows[0]
    plain: Any = make_classifier(kind, **settings | {"num_attention_heads": 2})
    classifier: Any = make_classifier(kind, **settings | {"num_attention_heads": 2})
    with torch.no_grad():
        expected = plain.score(plain.model(input_ids=ids[None], use_cache=False).last_hidden_state[0, -1])
        found = make_scorer(classifier)(row)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert classifier.config.to_dict() == plain.config.to_dict()


def test_frequencies_that_depend_on_the_longest_sequence(
    make_classifier: Callable[..., PreTrainedModel], monkeypatch: pytest.MonkeyPatch
):
    classifier = make_classifier("llama", rope_parameters=LONGROPE)
    monkeypatch.setattr(RopeLimits, "of", lambda config: RopeLimits())
    assert_caught(PackedScorer(classifier), "packed")


def test_windows_that_are_in_the_mask_alone(
    make_classifier: Callable[..., PreTrainedModel], monkeypatch: pytest.MonkeyPatch
):
    classifier = make_classifier("qwen2_moe", head_dim=8, **WINDOWS, **MOE)
    monkeypatch.delitem(AttentionMaskInterface._global_mapping, "music_gather")
    assert_caught(PackedScorer(classifier), "alone", "packed", "cached")


def test_layers_that_attend_twice(make_classifier: Callable[..., PreTrainedModel], monkeypatch: pytest.MonkeyPatch):
    by_call = StatePool.layer
    monkeypatch.setattr(StatePool, "layer", lambda self, index, call, *states: by_call(self, index, 0, *states))
    classifier = make_classifier("diffllama", num_key_value_heads=4, head_dim=8)
    assert_caught(PackedScorer(classifier), "cached")


def unscaled(*args: Any, **kwargs: Any) -> Any:
    return gather_attention(*args, **kwargs | {"scaling": 1.0})


def wider_by_one(*args: Any, sliding_window: int | None, **kwargs: Any) -> Any:
    return gather_attention(*args, sliding_window=sliding_window and sliding_window + 1, **kwargs)


def blind_to_the_path(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, segments: SegmentTable, **kwargs: Any
) -> Any:
    """Let every token see all that stands before it in the row, as a plain causal mask would."""
    groups = query.shape[1] // key.shape[1]
    seen = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool).tril(key.shape[2] - query.shape[2])
    keys, values = (each.repeat_interleave(groups, 1) for each in (key, value))
    attended = nn.functional.scaled_dot_product_attention(query, keys, values, seen, scale=kwargs["scaling"])
    return attended.transpose(1, 2), None


@pytest.mark.parametrize(
    ("broken", "faulty"),
    [
        (unscaled, ("alone", "packed", "cached")),
        (wider_by_one, ("alone", "packed", "cached")),
        (blind_to_the_path, ("packed",)),
    ],
)
def test_a_broken_back_end(
    broken: Any,
    faulty: tuple[str, ...],
    make_classifier: Callable[..., PreTrainedModel],
    monkeypatch: pytest.MonkeyPatch,
):
    classifier = make_classifier("qwen3", **WINDOWS if broken is wider_by_one else {})
    monkeypatch.setitem(AttentionInterface._global_mapping, "music_gather", _guarded(broken))
    assert_caught(PackedScorer(classifier), *faulty)


def refused_by_a_kernel(*args: Any, **kwargs: Any) -> Any:
    raise RuntimeError("the kernel takes no such heads")


@pytest.mark.parametrize(
    ("broken", "reason"), [(unscaled, "fails the self-test"), (refused_by_a_kernel, "the kernel takes no such heads")]
)
def test_another_back_end_is_used_where_the_fastest_is_broken(
    broken: Any,
    reason: str,
    make_classifier: Callable[..., PreTrainedModel],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    monkeypatch.setitem(BACKENDS, "broken", broken)
    monkeypatch.setitem(AttentionInterface._global_mapping, "music_broken", _guarded(broken))
    monkeypatch.setattr("music.reward.scoring.forward.choose_backend", lambda device, name=None: name or "broken")
    with caplog.at_level(logging.WARNING):
        assert make_scorer(make_classifier("qwen3")).backend == "gather"
    assert "attention gather is used in place of broken, which fails the self-test" in caplog.text
    assert reason in caplog.text
    with pytest.raises(PackedAttentionError, match=reason):
        make_scorer(make_classifier("qwen3"), "broken")


def test_out_of_memory_is_no_fault_of_the_model(
    make_classifier: Callable[..., PreTrainedModel], monkeypatch: pytest.MonkeyPatch
):
    def out_of_memory(*args: Any, **kwargs: Any) -> Any:
        raise torch.OutOfMemoryError

    monkeypatch.setitem(AttentionInterface._global_mapping, "music_gather", _guarded(out_of_memory))
    with pytest.raises(torch.OutOfMemoryError):
        make_scorer(make_classifier("qwen3"))


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("opt", {"ffn_dim": 48, "word_embed_proj_dim": 32}),
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10_000.0}}),
    ],
)
def test_a_model_of_few_positions_passes(
    kind: str, settings: dict[str, Any], make_classifier: Callable[..., PreTrainedModel]
):
    make_scorer(make_classifier(kind, max_position_embeddings=16, **settings))


def test_a_model_that_passed_is_not_tested_again(
    make_classifier: Callable[..., PreTrainedModel], cache: Path, monkeypatch: pytest.MonkeyPatch
):
    classifier: Any = make_classifier("qwen3")
    make_scorer(classifier)
    forwards: list[str] = []
    classifier.register_forward_pre_hook(lambda *_: forwards.append("classifier"))
    classifier.model.register_forward_pre_hook(lambda *_: forwards.append("backbone"))
    make_scorer(classifier)
    assert forwards == []
    with torch.no_grad():
        classifier.model.layers[0].mlp.up_proj.weight.add_(1e-3)  # other weights are another model
    make_scorer(classifier)
    assert forwards
    assert len(list(cache.rglob("self-tests/*"))) == 2
    monkeypatch.setattr(
        "music.reward.scoring.self_test._flash_version", lambda: "9.9"
    )  # other kernels prove nothing, either
    make_scorer(classifier)
    assert len(list(cache.rglob("self-tests/*"))) == 3


def test_a_fault_is_not_remembered_as_passed(
    make_classifier: Callable[..., PreTrainedModel], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(AttentionInterface._global_mapping, "music_gather", _guarded(unscaled))
    for _ in range(2):
        with pytest.raises(PackedAttentionError, match="fails the self-test"):
            make_scorer(make_classifier("qwen3"))


def test_a_cache_that_cannot_be_written_is_no_error(make_classifier: Callable[..., PreTrainedModel], cache: Path):
    cache.write_text("no folder")
    make_scorer(make_classifier("qwen3"))


def test_random_numbers_and_mode_stay_as_they_were(make_classifier: Callable[..., PreTrainedModel]):
    scorer = PackedScorer(make_classifier("qwen3")).train()
    state = torch.get_rng_state()
    require_exact(scorer)
    assert torch.equal(torch.get_rng_state(), state)
    assert scorer.training
