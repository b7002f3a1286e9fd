"""Frequencies that depend on a sequence's length: each reward is that of the conversation cut there, alone."""

from collections.abc import Callable
from itertools import chain
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from music.reward.attention import PackedAttentionError
from music.reward.packing import TokenSequence, plan_rows
from music.reward.scoring.cached_scorer import make_sequence_scorer
from music.reward.scoring.forward import PackedScorer
from music.reward.scoring.rope import RopeLimits, split_sequence
from music.reward.scoring.sequence_scorer import SequenceScorer

TOLERANCE = 1e-5
BOUNDARIES = [34, 57, 58, 90, 1000]


def longrope(boundary: int) -> dict[str, Any]:
    return {
        "rope_type": "longrope",
        "rope_theta": 10_000.0,
        "short_factor": [1.0] * 8,
        "long_factor": [3.0 + i for i in range(8)],
        "original_max_position_embeddings": boundary,
    }


def cut_rewards(classifier: Any, groups: list[list[TokenSequence]]) -> torch.Tensor:
    """Return the rewards of all reads, each by a plain forward of the sequence cut there."""
    classifier.set_attn_implementation("eager")
    found = []
    for sequence in (each for group in groups for each in group):
        for read in sequence.reads:
            output = classifier.base_model(input_ids=torch.tensor([sequence.ids[: read + 1]]), use_cache=False)
            found.append(classifier.score(output.last_hidden_state[0, -1])[0])
    return torch.stack(found)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_rewards_and_gradients(boundary: int, make_classifier: Callable[..., PreTrainedModel], make_groups: Any):
    classifier, groups = make_classifier("llama", rope_parameters=longrope(boundary)), make_groups(1)
    lengths = [len(sequence.ids) for group in groups for sequence in group]
    assert min(lengths) <= 57 < 90 < max(lengths)
    expected = cut_rewards(classifier, groups)
    scorer = PackedScorer(classifier, "gather")
    rewards: dict[int, torch.Tensor] = {}
    for row in plan_rows(groups, 300).rows:
        for group, of_group in zip(row.groups, row.split(scorer(row)), strict=True):
            rewards[group] = torch.cat(list(of_group))
    found = torch.cat([rewards[group] for group in range(len(groups))])
    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE)
    weights = torch.randn(len(found), generator=torch.Generator().manual_seed(0))
    gradients = []
    for each in (expected, found):
        classifier.zero_grad()
        (each * weights).mean().backward()
        gradients.append([p.grad.clone() for p in classifier.parameters() if p.grad is not None])
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("num_cached", [0, 100, 10_000])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@torch.no_grad()
def test_scores_do_not_depend_on_what_is_scored_beside_or_before(
    boundary: int, num_cached: int, make_classifier: Callable[..., PreTrainedModel], make_groups: Any
):
    classifier, groups = make_classifier("llama", rope_parameters=longrope(boundary)), make_groups(2)
    expected = cut_rewards(classifier, groups)
    sequences = make_sequence_scorer(PackedScorer(classifier, "gather").eval(), num_cached)
    together = [reward for of_one in sequences.rewards([s for group in groups for s in group]) for reward in of_one]
    one_by_one = [r for group in groups for s in group for of_one in sequences.rewards([s]) for r in of_one]
    torch.testing.assert_close(torch.tensor(together), expected, rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(torch.tensor(one_by_one), expected, rtol=0, atol=TOLERANCE)


@torch.no_grad()
def test_the_longest_sequence_would_change_the_others(
    make_classifier: Callable[..., PreTrainedModel], make_groups: Any, monkeypatch: pytest.MonkeyPatch
):
    """Without the boundary these sequences would tell."""
    classifier, groups = make_classifier("llama", rope_parameters=longrope(57)), make_groups(1)
    expected = cut_rewards(classifier, groups)
    monkeypatch.setattr(RopeLimits, "of", lambda config: RopeLimits())
    found = SequenceScorer(PackedScorer(classifier, "gather").eval()).rewards([s for group in groups for s in group])
    assert float((torch.tensor(list(chain.from_iterable(found))) - expected).abs().max()) > 1e-2


@torch.no_grad()
def test_dynamic_frequencies_are_exact_up_to_the_models_length_and_refused_beyond(
    make_classifier: Callable[..., PreTrainedModel],
):
    parameters = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10_000.0}
    classifier = make_classifier("llama", rope_parameters=parameters, max_position_embeddings=64)
    whole = TokenSequence.read_at_end([3 + i * i % 89 for i in range(64)])
    expected = cut_rewards(classifier, [[whole]])
    scorer = SequenceScorer(PackedScorer(classifier, "gather").eval())
    assert scorer.rewards([whole])[0] == pytest.approx(expected.tolist(), abs=TOLERANCE)
    with pytest.raises(PackedAttentionError, match="expected sequences of at most 64 tokens, got one of 65"):
        scorer.rewards([TokenSequence.read_at_end([*whole.ids, 7])])


def test_boundaries_are_found_by_kind_of_layer(make_classifier: Callable[..., PreTrainedModel]):
    config = make_classifier("llama").config
    assert RopeLimits.of(config) == RopeLimits()
    config.rope_parameters = {"full_attention": longrope(40), "sliding_attention": {"rope_type": "default"}}
    assert RopeLimits.of(config) == RopeLimits(boundary=40)


def test_parts_of_a_sequence():
    ids = list(range(10))
    assert split_sequence(TokenSequence(ids, (2, 9)), None) == [TokenSequence(ids, (2, 9))]
    assert split_sequence(TokenSequence(ids, (2, 9)), 10) == [TokenSequence(ids, (2, 9))]
    assert split_sequence(TokenSequence(ids, (2, 4, 5, 9)), 5) == [
        TokenSequence(ids[:5], (2, 4)),
        TokenSequence(ids, (5, 9)),
    ]
    assert split_sequence(TokenSequence(ids, (2, 4)), 5) == [TokenSequence(ids[:5], (2, 4))]
    assert split_sequence(TokenSequence(ids, ()), 5) == [TokenSequence(ids, ())]
