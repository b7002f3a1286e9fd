from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification, GPT2Config, GPT2ForSequenceClassification, PreTrainedModel

from music.errors import InvalidInputError
from music.reward.packing import TokenSequence, plan_rows
from music.reward.scoring.forward import PackedScorer


@pytest.mark.parametrize("max_tokens", [1, 150, 10_000])
@torch.no_grad()
def test_scores_do_not_depend_on_what_else_is_in_the_row(
    max_tokens: int, make_classifier: Callable[..., PreTrainedModel], make_groups: Any, plain_rewards: Any
):
    classifier, groups = make_classifier("qwen3"), make_groups(5)
    expected, scorer = plain_rewards(classifier, groups), PackedScorer(classifier)
    for row in plan_rows(groups, max_tokens).rows:
        for group, rewards in zip(row.groups, row.split(scorer(row)), strict=True):
            for own, wanted in zip(rewards, expected[group], strict=True):
                torch.testing.assert_close(own, wanted, rtol=0, atol=1e-5)


def test_adapters_are_to_be_merged(make_classifier: Callable[..., PreTrainedModel]):
    classifier: Any = make_classifier("llama")
    with pytest.raises(InvalidInputError, match=r"PeftModelForSequenceClassification.*merge_and_unload"):
        PackedScorer(get_peft_model(classifier, LoraConfig(task_type="SEQ_CLS")))  # type: ignore[arg-type]


@torch.no_grad()
def test_learned_positions_are_logical_ones(make_groups: Any, plain_rewards: Any):
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=97, n_embd=32, n_layer=2, n_head=4, n_positions=256, num_labels=1)
    classifier: Any = GPT2ForSequenceClassification(config).eval()
    classifier.transformer.wpe.weight.mul_(30)
    groups = make_groups(6, num_groups=2)
    expected = torch.cat([each for group in plain_rewards(classifier, groups) for each in group])
    (row,) = plan_rows(groups, 1000).rows
    torch.testing.assert_close(PackedScorer(classifier)(row), expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_the_head_is_in_fp32(make_classifier: Callable[..., PreTrainedModel], make_groups: Any):
    (row,) = plan_rows(make_groups(7, num_groups=1), 1000).rows
    scorer = PackedScorer(make_classifier("llama").to(torch.bfloat16))
    with torch.autocast("cpu", torch.bfloat16):
        rewards = scorer(row)
    assert rewards.dtype == torch.float32
    assert not torch.equal(rewards, rewards.bfloat16().float())


def test_arguments_may_be_copied_on_the_way(make_classifier: Callable[..., PreTrainedModel], make_groups: Any):
    """Wrappers of modules, such as FSDP's, copy dataclasses among arguments."""
    (row,) = plan_rows(make_groups(8, num_groups=1), 1000).rows
    scorer = PackedScorer(make_classifier("llama"))
    assert torch.equal(scorer(replace(row)), scorer(row))


def test_what_is_saved_is_a_vanilla_checkpoint(
    make_classifier: Callable[..., PreTrainedModel], make_groups: Any, plain_rewards: Any, tmp_path: Any
):
    groups: list[list[TokenSequence]] = make_groups(9, num_groups=1)
    scorer = PackedScorer(make_classifier("gemma2"))
    (row,) = plan_rows(groups, 1000).rows
    scorer.classifier.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    expected = torch.cat([each for group in plain_rewards(loaded.eval(), groups) for each in group])
    assert "music" not in (tmp_path / "config.json").read_text()
    torch.testing.assert_close(scorer(row), expected, rtol=0, atol=1e-5)
