from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from music.errors import InvalidInputError
from music.reward.attention.flex import why_no_flex
from music.reward.packing import TokenSequence, plan_rows
from music.reward.scoring.forward import PackedScorer

(ROW,) = plan_rows([[TokenSequence.read_at_end([*range(1, 40), k, k + 1]) for k in (50, 60)]], 1000).rows
without_compiler = torch.compiler.set_stance("force_eager")


@without_compiler
@torch.no_grad()
def test_weights_in_fp32_under_autocast(family: str, make_classifier: Callable[..., PreTrainedModel]):
    """Rotary embeddings leave queries and keys in fp32, beside values in bf16."""
    classifier = make_classifier(family)
    expected = PackedScorer(classifier, "gather")(ROW)
    with torch.autocast("cpu", torch.bfloat16):
        found = PackedScorer(classifier, "flex")(ROW)
        rounded = PackedScorer(classifier, "gather")(ROW)
    error, usual = ((each - expected).abs().max() for each in (found, rounded))
    assert 0 < error < max(3 * usual, torch.tensor(0.05))


def test_dropout_is_refused_with_what_to_do(make_classifier: Callable[..., PreTrainedModel]):
    scorer = PackedScorer(make_classifier("llama", attention_dropout=0.25), "flex").train()
    with pytest.raises(InvalidInputError, match=r"cannot drop out 0\.25 of the attention.* train without dropout"):
        scorer(ROW)


@pytest.mark.parametrize("has", [True, False])
def test_a_gpu_needs_triton(has: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("music.reward.attention.flex.has_triton", lambda: has)
    reason: Any = why_no_flex(torch.device("cuda"))
    assert reason is None if has else "pip install triton" in reason
    assert why_no_flex(torch.device("cpu")) is None
