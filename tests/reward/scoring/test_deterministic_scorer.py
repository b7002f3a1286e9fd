"""Deterministic rewards have the same bits whatever else is scored, in any order, at any time and in any process."""

import copy
import json
import pickle
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from music.errors import InvalidInputError
from music.reward.packing import TokenSequence
from music.reward.scoring.deterministic_scorer import DeterministicScorer
from music.reward.scoring.forward import PackedScorer
from music.reward.scoring.sequence_scorer import SequenceScorer

TOLERANCE = 1e-5
LARGER = {"hidden_size": 96, "intermediate_size": 200, "num_hidden_layers": 3}
LENGTHS = (1, 17, 159, 160, 161, 200, 320, 350)


def draw(rng: random.Random, length: int) -> list[int]:
    return rng.choices(range(1, 97), k=length)


def whole(ids: Sequence[int]) -> TokenSequence:
    return TokenSequence(ids, tuple(range(len(ids))))


def sequences() -> list[TokenSequence]:
    """Return sequences that end before, at and after the ends of chunks; two begin like the last."""
    rng = random.Random(0)
    drawn = [draw(rng, length) for length in LENGTHS]
    return [whole(ids) for ids in [*drawn, drawn[-1][:170], drawn[-1][:200] + draw(rng, 30)]]


@pytest.fixture
def scorer(family: str, make_classifier: Callable[..., PreTrainedModel]) -> PackedScorer:
    return PackedScorer(make_classifier(family, **LARGER))


@pytest.fixture
def llama(make_classifier: Callable[..., PreTrainedModel]) -> PackedScorer:
    return PackedScorer(make_classifier("llama", **LARGER))


def batches(of: Sequence[TokenSequence], num: int) -> list[list[TokenSequence]]:
    """Return random batches of the sequences, most with sequences that are in no other batch."""
    rng = random.Random(1)
    return [
        rng.sample(
            [*rng.sample(of, rng.randint(1, 4)), *(whole(draw(rng, rng.randint(1, 260))) for _ in range(n))], n + 1
        )
        for n in (rng.randint(0, 3) for _ in range(num))
    ]


def num_different(scorer: SequenceScorer, expected: dict[Any, list[float]], num: int) -> int:
    """Return how many rewards differ in some bit from those expected, over random batches."""
    of = [TokenSequence(ids, tuple(range(len(ids)))) for ids in expected]
    differing = 0
    for batch in batches(of, num):
        for sequence, rewards in zip(batch, scorer.rewards(batch), strict=True):
            wanted = expected.get(tuple(sequence.ids), rewards)
            differing += sum(own != right for own, right in zip(rewards, wanted, strict=True))
    return differing


def alone(scorer: SequenceScorer) -> dict[Any, list[float]]:
    return {tuple(each.ids): scorer.rewards([each])[0] for each in sequences()}


@pytest.mark.parametrize("max_cached", [0, 300, 100_000])
def test_no_bit_depends_on_batch_order_or_earlier_calls(scorer: PackedScorer, max_cached: int):
    expected = alone(DeterministicScorer(scorer, 1))
    assert num_different(DeterministicScorer(scorer, max_cached), expected, 20) == 0


def test_without_it_bits_depend_on_the_batch(llama: PackedScorer):
    """Otherwise the other tests could not fail."""
    normal = SequenceScorer(llama)
    assert num_different(normal, alone(normal), 20) > 0


def test_a_reward_has_the_bits_of_the_sequence_that_ends_there(scorer: PackedScorer):
    rng, deterministic = random.Random(2), DeterministicScorer(scorer, 1000)
    for ids, rewards in alone(deterministic).items():
        end = rng.randint(1, len(ids))
        assert deterministic.rewards([TokenSequence.read_at_end(ids[:end])]) == [[rewards[end - 1]]]


def test_rewards_are_those_of_plain_forwards(scorer: PackedScorer, plain_rewards: Any):
    found = DeterministicScorer(scorer, 1000).rewards(sequences())
    (expected,) = plain_rewards(scorer.classifier, [sequences()])
    assert torch.cat(expected).std() > 0.1
    for own, right in zip(found, expected, strict=True):
        torch.testing.assert_close(torch.tensor(own), right.detach(), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("num_threads", [1, 2])
def test_bits_are_the_same_from_every_thread(llama: PackedScorer, num_threads: int):
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        deterministic = DeterministicScorer(llama, 300)
        expected = deterministic.rewards(sequences())
        with ThreadPoolExecutor(3) as threads:
            found = list(threads.map(lambda _: deterministic.rewards(sequences()[::-1])[::-1], range(4)))
    finally:
        torch.set_num_threads(before)
    assert found == [expected] * 4


_OTHER_PROCESS = """
import json, sys, torch
from music.conversation import Conversation
from music.reward import RewardModel
from music.sandbox.artifacts import REWARD_MODEL

torch.set_num_threads(1)
model = RewardModel.from_pretrained(REWARD_MODEL, device="cpu").with_deterministic_scores()
conversations = [Conversation.from_messages(messages) for messages in json.load(sys.stdin)]
print(json.dumps([score for each in reversed(conversations) for score in model.score([each])][::-1]))
"""


def test_another_process_finds_the_same_bits(make_conversation: Any):
    from music.reward import RewardModel
    from music.sandbox.artifacts import REWARD_MODEL

    conversations = [make_conversation(seed, num_turns=seed + 1, num_words=20) for seed in range(4)]
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        scores = RewardModel.from_pretrained(REWARD_MODEL, device="cpu").with_deterministic_scores()(conversations)
    finally:
        torch.set_num_threads(before)
    run = subprocess.run(
        [sys.executable, "-c", _OTHER_PROCESS],
        input=json.dumps([c.to_messages() for c in conversations]),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(run.stdout) == scores


def test_what_is_kept_is_not_computed_again_and_stays_bounded(llama: PackedScorer):
    rng, deterministic = random.Random(3), DeterministicScorer(llama, 3 * 128, max_tokens=128)
    history = draw(rng, 300)
    candidates = [TokenSequence.read_at_end(history + draw(rng, 20)) for _ in range(8)]
    deterministic.rewards(candidates)
    assert deterministic.num_computed_tokens == 2 * 128 + 8 * 64
    deterministic.rewards([whole(draw(rng, 1000))])
    # All tokens of seven chunks are read, and 104 of the eighth: each quarter has a row of its own.
    assert deterministic.num_computed_tokens == 2 * 128 + 8 * 64 + 8 * (32 + 64 + 96 + 128)
    assert len(deterministic._chunks) == 3


def test_rewards_follow_the_weights(llama: PackedScorer):
    deterministic = DeterministicScorer(llama, 1000)
    before = deterministic.rewards(sequences())
    with torch.no_grad():
        llama.classifier.get_parameter("model.layers.0.mlp.up_proj.weight").mul_(1.5)
    after = deterministic.rewards(sequences())
    assert after == DeterministicScorer(llama, 1).rewards(sequences())
    assert all(old != new for old, new in zip(before, after, strict=True))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda scorer: pickle.loads(pickle.dumps(scorer))])
def test_a_copy_finds_the_same_bits(duplicate: Callable[[Any], Any], llama: PackedScorer):
    deterministic = DeterministicScorer(llama, 1000, max_tokens=96)
    expected = deterministic.rewards(sequences())
    again = duplicate(deterministic)
    assert not again._chunks
    assert again.rewards(sequences()) == expected


def test_a_model_whose_rope_depends_on_the_length_scores_whole_sequences(
    make_classifier: Callable[..., PreTrainedModel], plain_rewards: Any
):
    factors = {"short_factor": [1.0] * 4, "long_factor": [4.0] * 4, "original_max_position_embeddings": 150}
    classifier = make_classifier(
        "phi3",
        head_dim=8,
        original_max_position_embeddings=150,
        max_position_embeddings=600,
        rope_parameters={"rope_type": "longrope", "rope_theta": 10_000.0, **factors},
    )
    scorer = PackedScorer(classifier)
    assert scorer.rope.boundary == 150
    of = [TokenSequence.read_at_end(each.ids) for each in sequences()]
    expected = [DeterministicScorer(scorer, 1000).rewards([each])[0] for each in of]
    assert DeterministicScorer(scorer, 1000).rewards(of[::-1])[::-1] == expected
    (plain,) = plain_rewards(classifier, [of])
    torch.testing.assert_close(torch.tensor(expected), torch.stack(plain).detach(), rtol=0, atol=TOLERANCE)


@torch.compiler.set_stance("force_eager")
def test_kernels_that_are_compiled_for_the_first_shapes_are_refused(make_classifier: Callable[..., PreTrainedModel]):
    with pytest.raises(InvalidInputError, match="attention='gather'"):
        DeterministicScorer(PackedScorer(make_classifier("llama"), "flex"), 1000)
