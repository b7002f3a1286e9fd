import math
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from transformers import get_scheduler

from music.conversation import Conversation
from music.pairs import PreferencePair
from music.reward.loading import load_checkpoint
from music.reward.packing import TokenSequence, plan_rows
from music_trainers.reward.config import Objective, RewardTrainingConfig
from music_trainers.reward.optimizer import PairOptimizer, TrainingDivergedError, learning_rate_at
from music_trainers.reward.pairs import EncodedPair, encode_pairs


@pytest.fixture(params=["llama", "gemma2"])
def checkpoint(request, reward_checkpoint):
    return reward_checkpoint(request.param)


@pytest.fixture
def loaded(checkpoint):
    return load_checkpoint(checkpoint, dtype=torch.float32)


def make_optimizer(classifier, micro_batch_tokens, **objective):
    config = RewardTrainingConfig(
        base="base",
        out="out",
        max_grad_norm=1e9,
        micro_batch_tokens=micro_batch_tokens,
        objective=Objective(**objective),
    )
    return PairOptimizer(classifier, Accelerator(cpu=True), config)


def gradients(classifier):
    return {name: parameter.grad.clone() for name, parameter in classifier.named_parameters()}


def largest_difference(left, right):
    return max((left[name] - right[name]).abs().max().item() for name in left)


def test_a_micro_batched_step_is_the_plain_step(loaded, make_pairs):
    pairs, _ = encode_pairs(loaded.tokens, make_pairs(7, num_turns=3))
    outcomes, grads = [], []
    for max_tokens in (100_000, 200, 1):
        optimizer = make_optimizer(loaded.classifier, max_tokens)
        outcomes.append(optimizer.step(pairs, learning_rate=0.0))
        grads.append(gradients(loaded.classifier))
    assert len(plan_rows([(pair.chosen, pair.rejected) for pair in pairs], 200).rows) > 1
    for outcome, grad in zip(outcomes[1:], grads[1:], strict=True):
        assert outcome.loss == pytest.approx(outcomes[0].loss, abs=1e-6)
        assert outcome.accuracy == outcomes[0].accuracy
        assert largest_difference(grad, grads[0]) < 1e-5


def test_a_step_is_the_reference_written_out(checkpoint, loaded, make_pairs):
    pairs, _ = encode_pairs(loaded.tokens, make_pairs(5))
    outcome = make_optimizer(loaded.classifier, 100_000).step(pairs, learning_rate=0.0)
    ours = gradients(loaded.classifier)
    # Loaded anew: the classifier of a step attends to packed rows only.
    vanilla = load_checkpoint(checkpoint, dtype=torch.float32).classifier
    losses = []
    for pair in pairs:
        chosen = vanilla(torch.tensor([pair.chosen.ids])).logits.squeeze()
        rejected = vanilla(torch.tensor([pair.rejected.ids])).logits.squeeze()
        losses.append(-torch.log(torch.sigmoid(chosen - rejected)))
    reference = torch.stack(losses).mean()
    reference.backward()
    assert outcome.loss == pytest.approx(reference.item(), abs=1e-6)
    assert largest_difference(ours, gradients(vanilla)) < 1e-5


@pytest.mark.parametrize(
    ("readout", "read"),
    [
        ("turn_mean", torch.mean),
        ("turn_min", torch.min),
        ("end_weighted", lambda r: sum(t * reward for t, reward in enumerate(r, 1)) / sum(range(len(r) + 1))),
    ],
)
def test_turns_are_read_as_in_conversations_cut_there(checkpoint, loaded, make_pairs, readout, read):
    """One forward gives what separate forwards of the cut conversations give: loss and every gradient."""
    raw = make_pairs(5, num_turns=3)
    pairs, _ = encode_pairs(loaded.tokens, raw, every_turn=True)
    objective = {"readout": readout, "per_turn": 0.5, "margin": 0.25}
    outcome = make_optimizer(loaded.classifier, 100_000, **objective).step(pairs, learning_rate=0.0)
    ours = gradients(loaded.classifier)
    vanilla = load_checkpoint(checkpoint, dtype=torch.float32).classifier

    def turn_rewards(conversation):
        prefixes = [conversation.prefix(end) for end in conversation.turn_ends]
        encodings = loaded.tokens.encode(prefixes)
        return torch.stack([vanilla(torch.tensor([e.ids])).logits.squeeze() for e in encodings])

    losses = []
    for pair in raw:
        chosen, rejected = turn_rewards(pair.chosen), turn_rewards(pair.rejected)
        whole = -torch.log(torch.sigmoid(read(chosen) - read(rejected) - 0.25))
        losses.append(whole + 0.5 * -torch.log(torch.sigmoid(chosen - rejected)).mean())
    reference = torch.stack(losses).mean()
    reference.backward()
    assert outcome.loss == pytest.approx(reference.item(), abs=1e-6)
    assert largest_difference(ours, gradients(vanilla)) < 1e-5


def test_pairs_of_one_seed_share_their_history_and_the_loss_stays(loaded):
    history = Conversation().user("one two three").assistant("plan walk city " * 20).user("warm or cold")
    raw = [
        PreferencePair(id=str(i), chosen=history.assistant(f"{a} good"), rejected=history.assistant(f"{a} bad"))
        for i, a in enumerate(("apple", "pear", "one two"))
    ]
    pairs, _ = encode_pairs(loaded.tokens, raw)
    shared = make_optimizer(loaded.classifier, 100_000).step(pairs, learning_rate=0.0)
    ours = gradients(loaded.classifier)
    apart = [replace(pair, seed=str(i)) for i, pair in enumerate(pairs)]
    alone = make_optimizer(loaded.classifier, 1).step(apart, learning_rate=0.0)  # a row for each
    assert shared.packing.num_tokens < 0.5 * alone.packing.num_tokens < alone.packing.num_sequence_tokens
    assert shared.loss == pytest.approx(alone.loss, abs=1e-6)
    assert largest_difference(ours, gradients(loaded.classifier)) < 1e-5


def test_a_loss_that_is_no_number_leaves_the_weights_alone(reward_checkpoint):
    classifier = load_checkpoint(reward_checkpoint(), dtype=torch.float32).classifier
    with torch.no_grad():
        classifier.score.weight.fill_(math.inf)
    before = {name: p.clone() for name, p in classifier.named_parameters()}
    with pytest.raises(TrainingDivergedError, match="loss nan"):
        make_optimizer(classifier, 1000).step(
            [EncodedPair(TokenSequence.read_at_end([1, 2, 5]), TokenSequence.read_at_end([1, 3, 5]))], learning_rate=1.0
        )
    assert all(torch.equal(before[name], p) for name, p in classifier.named_parameters())


def test_a_tie_is_not_a_win(reward_checkpoint):
    classifier = load_checkpoint(reward_checkpoint(), dtype=torch.float32).classifier
    with torch.no_grad():
        classifier.score.weight.zero_()
    pairs = [EncodedPair(TokenSequence.read_at_end([1, 2, 5]), TokenSequence.read_at_end([1, 3, 5]))]
    metrics, statistics = make_optimizer(classifier, 1000).evaluate(pairs)
    assert (metrics.accuracy, metrics.num_pairs) == (0.0, 1)
    assert metrics.nll == pytest.approx(math.log(2))
    assert (statistics.mean, statistics.std, statistics.num_conversations) == (0.0, 0.0, 2)


@pytest.mark.parametrize("scheduler", ["cosine", "linear", "constant"])
def test_the_rate_is_that_of_transformers_which_begins_at_zero(scheduler):
    """Ours is one step ahead in the warm-up, as a step at rate 0 would be for nothing."""
    config = RewardTrainingConfig(
        base="b", out="o", learning_rate=1.0, allow_large_rate=True, scheduler=scheduler, warmup_fraction=0.1
    )
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    name = "constant_with_warmup" if scheduler == "constant" else scheduler
    theirs = get_scheduler(name, optimizer, num_warmup_steps=10, num_training_steps=100).lr_lambdas[0]
    ours = [learning_rate_at(step, 100, config) for step in range(100)]
    assert ours[:10] == pytest.approx([theirs(step + 1) for step in range(10)])
    assert ours[10:] == pytest.approx([theirs(step) for step in range(10, 100)])
    assert learning_rate_at(0, 1, config.model_copy(update={"warmup_fraction": 0.0})) == 1.0
