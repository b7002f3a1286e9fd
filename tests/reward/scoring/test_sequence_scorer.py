"""Scoring with a cache gives the rewards of plain forwards of whole sequences, and computes no token twice."""

import copy
import pickle
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from music.reward.packing import TokenSequence
from music.reward.scoring.cached_scorer import CachedScorer, make_sequence_scorer
from music.reward.scoring.forward import PackedScorer
from music.reward.scoring.sequence_scorer import SequenceScorer

TOLERANCE = 1e-5
NUM_TURNS = 3


def grow(seed: int, num: int = 3, num_candidates: int = 3) -> list[list[TokenSequence]]:
    """Return the scorings of conversations that grow turn by turn, four windows long in the end.

    Each goes on from one of its candidates; one comes in the second turn only, and one has its beginning rewritten.
    """
    rng = random.Random(seed)

    def draw(least: int, most: int) -> list[int]:
        return rng.choices(range(1, 97), k=rng.randint(least, most))

    histories, scorings = [draw(10, 40) for _ in range(num)], []
    for turn in range(NUM_TURNS):
        offers = [[[*h, *draw(1, 20)] for _ in range(num_candidates)] for h in histories[turn == 0 :]]
        scorings.append([sequence(ids) for offer in offers for ids in offer])
        histories = [*histories[: turn == 0], *(rng.choice(offer) + draw(1, 10) for offer in offers)]
        histories[-1] = [96, *histories[-1][rng.randint(1, 5) :]] if turn else histories[-1]
    return scorings


def sequence(ids: list[int]) -> TokenSequence:
    """Read at three places: the first of them are in what was computed before."""
    return TokenSequence(ids, tuple(sorted({0, len(ids) // 2, len(ids) - 1})))


def flat(rewards: Any) -> torch.Tensor:
    return torch.cat([torch.as_tensor(each) for each in rewards])


@contextmanager
def counting(scorer: PackedScorer) -> Iterator[list[int]]:
    counts: list[int] = []
    embeddings = scorer.classifier.get_input_embeddings()
    hook = embeddings.register_forward_pre_hook(lambda _, inputs: counts.append(inputs[0].numel()))
    yield counts
    hook.remove()


@pytest.mark.parametrize(
    ("backend", "max_cached"),
    [("gather", 0), ("gather", 60), ("gather", 10_000), ("varlen", 60), ("varlen", 10_000), ("flex", 10_000)],
)
@torch.compiler.set_stance("force_eager")
@torch.no_grad()
def test_rewards_are_those_of_whole_sequences_turn_after_turn(
    family: str,
    backend: str,
    max_cached: int,
    make_classifier: Callable[..., PreTrainedModel],
    plain_rewards: Any,
    emulated_flash: None,
):
    """With little room, what was kept is given up all the time."""
    classifier, scorings = make_classifier(family), grow(1)
    expected = [flat(plain_rewards(classifier, [scoring])[0]) for scoring in scorings]
    assert flat(expected).std() > 0.1
    scorer = make_sequence_scorer(PackedScorer(classifier, backend), max_cached, max_tokens=60)
    for scoring, wanted in zip(scorings, expected, strict=True):
        torch.testing.assert_close(flat(scorer.rewards(scoring)), wanted, rtol=0, atol=TOLERANCE)


@pytest.fixture
def scorer(make_classifier: Callable[..., PreTrainedModel]) -> PackedScorer:
    return PackedScorer(make_classifier("gemma2"))


def test_no_token_is_computed_twice(scorer: PackedScorer):
    scorings, cached = grow(2, num_candidates=5), CachedScorer(scorer, 10_000)
    with counting(scorer) as counts:
        for scoring in scorings:
            cached.rewards(scoring)
            cached.rewards(scoring[::-1])
    whole = [tuple(each.ids) for scoring in scorings for each in scoring]
    ideal = len({ids[:end] for ids in whole for end in range(1, len(ids) + 1)})
    assert ideal <= sum(counts) <= 1.1 * ideal


def test_many_candidates_share_a_long_history_though_they_need_several_rows(scorer: PackedScorer):
    rng, history = random.Random(0), list(range(1, 97)) * 2
    candidates = [sequence(history + rng.choices(range(1, 97), k=15)) for _ in range(20)]
    with counting(scorer) as counts:
        rewards = CachedScorer(scorer, 10_000, max_tokens=100).rewards(candidates)
    assert sum(counts) <= len(history) + 20 * 15
    assert max(counts) <= len(history) + 15 + 100
    assert len(counts) <= 4
    torch.testing.assert_close(flat(rewards), flat(SequenceScorer(scorer).rewards(candidates)), rtol=0, atol=TOLERANCE)


def test_equal_sequences_have_equal_rewards_and_are_computed_once(scorer: PackedScorer):
    first, other = grow(3)[0][:2]
    read_elsewhere = TokenSequence(first.ids, (2,))
    with counting(scorer) as counts:
        rewards = SequenceScorer(scorer).rewards([first, other, first, read_elsewhere])
    assert rewards[0] == rewards[2]
    assert sum(counts) <= len(first.ids) + len(other.ids)
    assert SequenceScorer(scorer).rewards([]) == []


def in_place(scorer: PackedScorer) -> None:
    with torch.no_grad():
        scorer.classifier.get_parameter("model.layers.0.mlp.up_proj.weight").mul_(1.5)


def replaced(scorer: PackedScorer) -> None:
    scorer.classifier.get_parameter("score.weight").data = torch.randn(1, 32)


def trained(scorer: PackedScorer) -> None:
    weights = scorer.classifier.get_parameter("model.norm.weight")
    weights.grad = torch.ones_like(weights)
    torch.optim.AdamW([weights], lr=0.5, fused=True).step()


def loaded(scorer: PackedScorer) -> None:
    state = scorer.classifier.state_dict()
    scorer.classifier.load_state_dict({name: torch.randn_like(weights) for name, weights in state.items()})


def written_to(scorer: PackedScorer) -> None:
    scorer.classifier.get_parameter("model.norm.weight").data[3] += 0.5


def rounded(scorer: PackedScorer) -> None:
    scorer.classifier.bfloat16()


@pytest.mark.parametrize("change", [in_place, replaced, trained, loaded, written_to, rounded])
def test_rewards_follow_the_weights(change: Callable[[PackedScorer], None], scorer: PackedScorer):
    scorings, cached = grow(4), CachedScorer(scorer, 10_000)
    before = [cached.rewards(scoring) for scoring in scorings]
    change(scorer)
    for scoring, old in zip(scorings, before, strict=True):
        new = flat(cached.rewards(scoring))
        torch.testing.assert_close(new, flat(SequenceScorer(scorer).rewards(scoring)), rtol=0, atol=0.05)
        assert float((new - flat(old)).abs().max()) > 0


def test_precision_is_part_of_what_was_computed(scorer: PackedScorer):
    scorings, cached = grow(4), CachedScorer(scorer, 10_000)
    cached.rewards(scorings[0])
    with torch.autocast("cpu", torch.bfloat16):
        rounded = cached.rewards(scorings[1])
        assert rounded == CachedScorer(scorer, 10_000).rewards(scorings[1])
    expected = flat(SequenceScorer(scorer).rewards(scorings[2]))
    torch.testing.assert_close(flat(cached.rewards(scorings[2])), expected, rtol=0, atol=TOLERANCE)


def test_what_was_computed_in_training_is_not_kept_for_scoring(make_classifier: Callable[..., PreTrainedModel]):
    scorer = PackedScorer(make_classifier("llama", attention_dropout=0.5))
    scorings, cached = grow(4), CachedScorer(scorer, 10_000)
    scorer.train()
    cached.rewards(scorings[0])
    scorer.eval()
    assert cached.rewards(scorings[0]) == CachedScorer(scorer, 10_000).rewards(scorings[0])


@pytest.mark.parametrize("layer", [0, 1])
def test_a_forward_pass_that_fails_midway_leaves_nothing_half_kept(layer: int, scorer: PackedScorer):
    scorings, cached = grow(5), CachedScorer(scorer, 10_000, max_tokens=60)
    cached.rewards(scorings[0])
    calls = []

    def fail_in_the_second_row(*_: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise MemoryError

    hook = scorer.classifier.get_submodule(f"model.layers.{layer}").register_forward_pre_hook(fail_in_the_second_row)
    with pytest.raises(MemoryError):
        cached.rewards(scorings[1])
    hook.remove()
    for scoring in scorings[1:]:
        expected = flat(SequenceScorer(scorer).rewards(scoring))
        torch.testing.assert_close(flat(cached.rewards(scoring)), expected, rtol=0, atol=TOLERANCE)


def test_threads_may_share_it(scorer: PackedScorer):
    scorings = [scoring for seed in range(4) for scoring in grow(seed)]
    expected = [flat(SequenceScorer(scorer).rewards(scoring)) for scoring in scorings]
    cached = CachedScorer(scorer, 200)
    with ThreadPoolExecutor(4) as threads:
        for found, wanted in zip(threads.map(cached.rewards, scorings), expected, strict=True):
            torch.testing.assert_close(flat(found), wanted, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda cached: pickle.loads(pickle.dumps(cached))])
def test_a_copy_begins_with_nothing_kept(duplicate: Callable[[Any], Any], scorer: PackedScorer):
    scoring, cached = grow(6)[0], CachedScorer(scorer, 10_000)
    rewards = cached.rewards(scoring)
    again = duplicate(cached)
    assert again.max_cached_tokens == 10_000
    with counting(again._scorer) as counts:
        torch.testing.assert_close(flat(again.rewards(scoring)), flat(rewards), rtol=0, atol=TOLERANCE)
    assert sum(counts) > 0
