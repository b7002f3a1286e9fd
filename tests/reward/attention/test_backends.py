from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    DynamicCache,
    LlamaForSequenceClassification,
    LlamaModel,
    PreTrainedModel,
)

from music.errors import InvalidInputError
from music.reward.attention import BACKENDS, PackedAttentionError, SegmentTable, choose_backend
from music.reward.packing import PackedRow, TokenSequence, plan_rows
from music.reward.scoring.forward import PackedScorer

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def row() -> PackedRow:
    shared = list(range(1, 31))
    return plan_rows([[TokenSequence.read_at_end([*shared, 40 + k, 50 + k]) for k in range(2)]], 1000).rows[0]


def make_random(kind: str, **config: Any) -> PreTrainedModel:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 97, "num_labels": 1}
    model = AutoModelForSequenceClassification.from_config(AutoConfig.for_model(kind, **sizes | config))
    return model.eval()


@pytest.mark.parametrize(
    ("no_flash", "no_flex", "chosen"),
    [(None, None, "varlen"), ("too old", None, "flex"), ("too old", "no Triton", "gather")],
)
def test_the_fastest_that_works_is_chosen(
    no_flash: str | None, no_flex: str | None, chosen: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("music.reward.attention.backends.why_no_flash", lambda device: no_flash)
    monkeypatch.setattr("music.reward.attention.backends.why_no_flex", lambda device: no_flex)
    assert (choose_backend(CPU), choose_backend(CUDA)) == ("gather", chosen)
    assert choose_backend(CUDA, "gather") == "gather"
    for name, reason in (("varlen", no_flash), ("flex", no_flex)):
        if reason is None:
            assert choose_backend(CUDA, name) == name
        else:
            with pytest.raises(InvalidInputError, match=f"back-end {name}: {reason}, or use {chosen}"):
                choose_backend(CUDA, name)


def test_an_unknown_backend_is_refused():
    with pytest.raises(InvalidInputError, match="expected one of gather, flex, varlen, got 'sdpa'"):
        choose_backend(CPU, "sdpa")


@pytest.fixture(params=sorted(BACKENDS))
def scorer(
    request: pytest.FixtureRequest, make_classifier: Callable[..., PreTrainedModel], emulated_flash: None
) -> PackedScorer:
    return PackedScorer(make_classifier("llama"), request.param)


def test_a_model_that_is_called_by_itself_says_so(scorer: PackedScorer):
    with pytest.raises(PackedAttentionError, match="called without `segments`"):
        scorer.classifier(input_ids=torch.tensor([[1, 2, 3]]))


def test_stacked_sequences_are_refused(scorer: PackedScorer, row: PackedRow):
    with pytest.raises(PackedAttentionError, match="got a batch of 2"):
        scorer.classifier(input_ids=row.input_ids().expand(2, -1), segments=SegmentTable.of(row))


def test_a_table_of_another_row_is_refused(scorer: PackedScorer, row: PackedRow):
    with pytest.raises(PackedAttentionError, match="expected one packed row of 34 tokens"):
        scorer.classifier(input_ids=row.input_ids()[None, :-1], segments=SegmentTable.of(row))


def test_a_mask_is_refused_for_it_would_be_ignored(scorer: PackedScorer, row: PackedRow):
    mask = torch.ones(1, 1, row.num_tokens, row.num_tokens, dtype=torch.bool)
    with pytest.raises(PackedAttentionError, match="it uses attention_mask"):
        scorer.classifier(input_ids=row.input_ids()[None], attention_mask=mask, segments=SegmentTable.of(row))


@torch.no_grad()
def test_a_cache_of_transformers_is_refused(scorer: PackedScorer, row: PackedRow):
    inputs = {"input_ids": row.input_ids()[None], "position_ids": row.positions()[None]}
    cache = DynamicCache()
    cache.update(torch.zeros(1, 2, 34, 16), torch.zeros(1, 2, 34, 16), 0)
    with pytest.raises(PackedAttentionError, match=r"expected 0 cached keys, got 34: .* `past` alone"):
        scorer.classifier.base_model(**inputs, segments=SegmentTable.of(row), past_key_values=cache)


def test_a_table_with_cached_tokens_needs_their_keys(scorer: PackedScorer, row: PackedRow):
    with pytest.raises(PackedAttentionError, match="expected 3 cached keys, got 0"):
        scorer.hidden(row, SegmentTable.of(row, [("abc",)]))


@pytest.mark.parametrize(
    ("kind", "config", "reason"),
    [
        ("bloom", {}, "its attention cannot be replaced"),
        ("bert", {}, "with a head called `score`"),
        ("qwen3_next", {"num_experts": 2, "num_experts_per_tok": 1}, "its layers are linear_attention"),
        ("gpt_oss", {"num_local_experts": 2, "num_experts_per_tok": 1}, "it uses s_aux"),
        ("stablelm", {}, "does not pass its arguments on to its layers"),
        ("doge", {}, "it uses attention_mask"),
    ],
)
@torch.no_grad()
def test_models_that_would_be_wrong_are_refused(kind: str, config: dict[str, Any], reason: str, row: PackedRow):
    with pytest.raises(PackedAttentionError, match=reason):
        PackedScorer(make_random(kind, **config))(row)


class Deaf(LlamaModel):
    def forward(self, input_ids: Any, position_ids: Any = None, use_cache: Any = None) -> Any:
        return super().forward(input_ids=input_ids, position_ids=position_ids, use_cache=use_cache)


def test_a_backbone_that_takes_no_table_is_refused(make_classifier: Callable[..., PreTrainedModel]):
    classifier: Any = make_classifier("llama")
    classifier.model = Deaf(classifier.config)
    with pytest.raises(PackedAttentionError, match="takes no further arguments"):
        PackedScorer(classifier)


@torch.no_grad()
def test_a_layer_that_does_not_attend_by_the_table_is_noticed(
    make_classifier: Callable[..., PreTrainedModel], row: PackedRow
):
    classifier: Any = make_classifier("llama")
    assert isinstance(classifier, LlamaForSequenceClassification)
    classifier.model.layers[0].self_attn.forward = lambda hidden_states, **_: (hidden_states, None)
    with pytest.raises(PackedAttentionError, match="1 of 2 layers attended"):
        PackedScorer(classifier)(row)
