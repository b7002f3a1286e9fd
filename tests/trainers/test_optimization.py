import math

import pytest
import torch
from accelerate import Accelerator

from music.reward.loading import load_checkpoint
from music_trainers.data import EncodedPair, encode_pairs, micro_batches
from music_trainers.metrics import bradley_terry_losses, evaluate
from music_trainers.optimization import PairOptimizer, TrainingDivergedError, cosine_learning_rate


@pytest.fixture(params=["llama", "gemma2"])
def loaded(request, reward_checkpoint):
    return load_checkpoint(reward_checkpoint(request.param), dtype=torch.float32)


def make_optimizer(classifier, micro_batch_tokens):
    return PairOptimizer(
        classifier,
        Accelerator(cpu=True),
        weight_decay=0.0,
        max_grad_norm=1e9,
        micro_batch_tokens=micro_batch_tokens,
        pad_token_id=0,
    )


def gradients(classifier):
    return {name: parameter.grad.clone() for name, parameter in classifier.named_parameters()}


def largest_difference(left, right):
    return max((left[name] - right[name]).abs().max().item() for name in left)


def test_the_loss_is_bradley_terry():
    chosen, rejected = torch.tensor([2.0, -1.0, 40.0]), torch.tensor([1.0, 0.5, -40.0])
    expected = [
        -math.log(1 / (1 + math.exp(-(c - r)))) for c, r in zip([2.0, -1.0, 40.0], [1.0, 0.5, -40.0], strict=True)
    ]
    assert bradley_terry_losses(chosen, rejected).tolist() == pytest.approx(expected, abs=1e-6)


def test_a_micro_batched_step_is_the_plain_step(loaded, make_pairs):
    pairs, _ = encode_pairs(loaded.tokens, make_pairs(7, num_turns=3))
    outcomes, grads = [], []
    for max_tokens in (100_000, 200, 1):
        optimizer = make_optimizer(loaded.classifier, max_tokens)
        outcomes.append(optimizer.step(pairs, learning_rate=0.0))
        grads.append(gradients(loaded.classifier))
    assert len(micro_batches(pairs, 200)) > 1
    for outcome, grad in zip(outcomes[1:], grads[1:], strict=True):
        assert outcome.loss == pytest.approx(outcomes[0].loss, abs=1e-6)
        assert outcome.num_correct == outcomes[0].num_correct
        assert largest_difference(grad, grads[0]) < 1e-5


def test_a_step_is_the_reference_written_out(loaded, make_pairs):
    pairs, _ = encode_pairs(loaded.tokens, make_pairs(5))
    outcome = make_optimizer(loaded.classifier, 100_000).step(pairs, learning_rate=0.0)
    ours = gradients(loaded.classifier)
    loaded.classifier.zero_grad()
    losses = []
    for pair in pairs:
        chosen = loaded.classifier(torch.tensor([pair.chosen])).logits.squeeze()
        rejected = loaded.classifier(torch.tensor([pair.rejected])).logits.squeeze()
        losses.append(-torch.log(torch.sigmoid(chosen - rejected)))
    reference = torch.stack(losses).mean()
    reference.backward()
    assert outcome.loss == pytest.approx(reference.item(), abs=1e-6)
    assert largest_difference(ours, gradients(loaded.classifier)) < 1e-5


def test_a_loss_that_is_no_number_leaves_the_weights_alone(reward_checkpoint):
    classifier = load_checkpoint(reward_checkpoint(), dtype=torch.float32).classifier
    with torch.no_grad():
        classifier.score.weight.fill_(math.inf)
    before = {name: p.clone() for name, p in classifier.named_parameters()}
    with pytest.raises(TrainingDivergedError, match="loss nan"):
        make_optimizer(classifier, 1000).step([EncodedPair([1, 2, 5], [1, 3, 5])], learning_rate=1.0)
    assert all(torch.equal(before[name], p) for name, p in classifier.named_parameters())


def test_a_tie_is_not_a_win(reward_checkpoint):
    classifier = load_checkpoint(reward_checkpoint(), dtype=torch.float32).classifier
    with torch.no_grad():
        classifier.score.weight.zero_()
    pairs = [EncodedPair([1, 2, 5], [1, 3, 5])]
    metrics, statistics = evaluate(classifier, pairs, Accelerator(cpu=True), 0)
    assert (metrics.accuracy, metrics.num_pairs) == (0.0, 1)
    assert metrics.nll == pytest.approx(math.log(2))
    assert (statistics.mean, statistics.std, statistics.num_conversations) == (0.0, 0.0, 2)


def test_the_rate_rises_and_falls():
    rates = [cosine_learning_rate(step, 100, 1.0, 0.1) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * n for n in range(1, 11)])
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[-1] < 0.001
    assert cosine_learning_rate(0, 1, 1.0, 0.0) == 1.0
