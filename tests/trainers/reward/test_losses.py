import math
from typing import get_args

import pytest
import torch
from pydantic import ValidationError

from music.reward import Readout, read_rewards
from music.reward.packing import TokenSequence
from music_trainers.reward.config import Objective
from music_trainers.reward.losses import bradley_terry_losses, num_comparisons, read_out, row_loss
from music_trainers.reward.pairs import EncodedPair, PairGroup

SEQUENCE = TokenSequence.read_at_end([1, 2])


def groups_of(*pairs_per_group, **fields):
    return [PairGroup((EncodedPair(SEQUENCE, SEQUENCE, **fields),) * count) for count in pairs_per_group]


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def reads(*values):
    return [torch.tensor(each) for each in values]


def cost(objective, groups, rewards):
    return row_loss(objective, groups, rewards).total.item()


def test_bradley_terry_with_margin_and_smoothing_is_the_formula_written_out():
    chosen, rejected, margins = [2.0, -1.0, 0.3], [1.0, 0.5, 0.3], [0.0, 0.5, 1.0]
    for e in (0.0, 0.1):
        expected = [
            -(1 - e) * math.log(sigmoid(c - r - m)) - e * math.log(sigmoid(-(c - r - m)))
            for c, r, m in zip(chosen, rejected, margins, strict=True)
        ]
        losses = bradley_terry_losses(torch.tensor(chosen), torch.tensor(rejected), torch.tensor(margins), e)
        assert losses.tolist() == pytest.approx(expected, abs=1e-6)


def test_margin_and_centering_are_trls():
    chosen, rejected = torch.tensor([2.0, -1.0]), torch.tensor([1.0, 0.5])
    margin = torch.tensor([0.25 + 0.5, 0.25 + 0.5])
    # trl.RewardTrainer.compute_loss, 1.16
    expected = -torch.nn.functional.logsigmoid(chosen - rejected - margin).mean()
    expected += 0.01 * torch.mean((chosen + rejected) ** 2)
    objective = Objective(margin=0.25, center_rewards_coefficient=0.01)
    groups = groups_of(1, 1, margin=0.5)
    total = cost(objective, groups, [reads([2.0], [1.0]), reads([-1.0], [0.5])])
    assert total / num_comparisons(objective, groups) == pytest.approx(expected.item(), abs=1e-6)


def test_a_conversation_is_read_out_at_its_end_or_as_the_mean_over_its_turns():
    rewards = [reads([0.0, 3.0, 1.0], [2.0, 0.5])]
    assert cost(Objective(), groups_of(1), rewards) == pytest.approx(-math.log(sigmoid(0.5)))
    mean = cost(Objective(readout="turn_mean"), groups_of(1), rewards)
    assert mean == pytest.approx(-math.log(sigmoid(4 / 3 - 1.25)), abs=1e-6)


@pytest.mark.parametrize("readout", get_args(Readout))
def test_losses_read_rewards_as_models_do_and_with_the_gradient_of_that(readout):
    values = [0.5, -1.0, 2.0, 0.25, -0.75]
    rewards = torch.tensor(values, requires_grad=True)
    [score] = read_out(Objective(readout=readout), [rewards])
    assert score.item() == pytest.approx(read_rewards(readout, values), abs=1e-6)
    score.backward()
    for turn in range(5):
        higher = [value + 1e-3 * (turn == other) for other, value in enumerate(values)]
        slope = (read_rewards(readout, higher) - read_rewards(readout, values)) / 1e-3
        assert rewards.grad[turn].item() == pytest.approx(slope, abs=1e-6)


def test_turns_cost_their_mean_by_pair_and_only_where_the_sides_differ():
    groups = groups_of(1, turns=((1, 1), (2, 2))) + groups_of(1)
    rewards = [reads([9.0, 1.0, 2.0], [-9.0, 0.0, 3.0]), reads([0.0, 1.0], [0.0, 0.0])]
    whole = -math.log(sigmoid(-1)) - math.log(sigmoid(1))
    turns = (-math.log(sigmoid(1)) - math.log(sigmoid(-1))) / 2
    assert cost(Objective(per_turn=0.5), groups, rewards) == pytest.approx(whole + 0.5 * turns, abs=1e-6)


def test_a_ranked_group_costs_what_plackett_luce_says_of_its_top():
    objective = Objective(ranking="groups")
    groups = groups_of(3, 1)
    rewards = [reads([1.0], [0.0], [1.0], [2.0], [1.0], [-1.0]), reads([1.0], [0.5])]
    top = math.exp(1) / (math.exp(1) + math.exp(0) + math.exp(2) + math.exp(-1))
    expected = -math.log(top) - math.log(sigmoid(0.5))
    assert cost(objective, groups, rewards) == pytest.approx(expected, abs=1e-5)
    assert num_comparisons(objective, groups) == 2
    assert row_loss(objective, groups, rewards).num_correct.item() == 3


def test_a_tie_is_not_a_win():
    assert row_loss(Objective(), groups_of(1), [reads([1.0], [1.0])]).num_correct.item() == 0


@pytest.mark.parametrize("unused", [{"margin": 1.0}, {"label_smoothing": 0.1}, {"per_turn": 1.0}])
def test_ranking_by_groups_refuses_what_it_would_ignore(unused):
    with pytest.raises(ValidationError, match=f"does not use {next(iter(unused))}"):
        Objective(ranking="groups", **unused)
