"""The loss of a packed row from its rewards: Bradley-Terry and its variants, and the top choice of Plackett-Luce.

All losses are computed in fp32: the scorer returns fp32 rewards for every backbone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from music.reward.tokens.contract import Readout
from music_trainers.reward.config import Objective
from music_trainers.reward.pairs import PairGroup

__all__ = ["RowLoss", "bradley_terry_losses", "num_comparisons", "read_out", "row_loss"]


def bradley_terry_losses(
    chosen: Tensor, rejected: Tensor, margins: Tensor | float = 0.0, label_smoothing: float = 0.0
) -> Tensor:
    """Return `-(1 - e) log sigmoid(d) - e log sigmoid(-d)` per pair, with `d = chosen - rejected - margin`.

    Args:
        chosen: Rewards of the better sides, `[pairs]`.
        rejected: Rewards of the worse sides, `[pairs]`.
        margins: By how much the better side should win (Llama 2, equation 2), `[pairs]` or one for all.
        label_smoothing: `e`, the share of labels that are taken to be wrong.
    """
    difference = chosen.float() - rejected.float() - margins
    losses = -nn.functional.logsigmoid(difference)
    if label_smoothing:
        losses = (1 - label_smoothing) * losses - label_smoothing * nn.functional.logsigmoid(-difference)
    return losses


@dataclass(frozen=True, slots=True)
class RowLoss:
    """The loss of a packed row.

    Attributes:
        total: Sum over its comparisons, a scalar.
        num_correct: Pairs whose chosen side scored higher, a scalar; a tie is not a win.
    """

    total: Tensor
    num_correct: Tensor


def row_loss(objective: Objective, groups: Sequence[PairGroup], reads: Sequence[Sequence[Tensor]]) -> RowLoss:
    """Return the loss of the groups in a row.

    Args:
        objective: The losses and their weights.
        groups: At least one group.
        reads: The rewards that were read, per group and sequence.
    """
    flat = [each for group in reads for each in group]
    chosen, rejected = read_out(objective, flat).view(-1, 2).unbind(1)  # [pairs] each
    if objective.ranking == "groups":
        total = _ranked(objective, groups, chosen, rejected)
    else:
        total = _paired(objective, groups, chosen, rejected) + _per_turn(objective, groups, flat)
    return RowLoss(total, (chosen > rejected).sum())


def read_out(objective: Objective, reads: Sequence[Tensor]) -> Tensor:
    """Return one reward per sequence, `[sequences]`, from the rewards read in each."""
    return torch.stack([_read(objective.readout, each) for each in reads])


def _read(readout: Readout | None, rewards: Tensor) -> Tensor:
    """Return the score of one sequence, a scalar: `read_rewards` with a gradient."""
    match readout:
        case "turn_mean":
            return rewards.mean()
        case "turn_min":
            return rewards.amin()
        case "end_weighted":
            weights = torch.arange(1, len(rewards) + 1, device=rewards.device)
            return (rewards * weights).sum() / weights.sum()
        case _:
            return rewards[-1]


def num_comparisons(objective: Objective, groups: Sequence[PairGroup]) -> int:
    """Return the number of comparisons that the loss averages over: ranked groups, or pairs."""
    return len(groups) if objective.ranking == "groups" else sum(len(group.pairs) for group in groups)


def _paired(objective: Objective, groups: Sequence[PairGroup], chosen: Tensor, rejected: Tensor) -> Tensor:
    """Return the sum of the losses of all pairs."""
    margins = chosen.new_tensor([objective.margin + pair.margin for group in groups for pair in group.pairs])
    losses = bradley_terry_losses(chosen, rejected, margins, objective.label_smoothing)
    return (losses + objective.center_rewards_coefficient * _centering_losses(chosen, rejected)).sum()


def _per_turn(objective: Objective, groups: Sequence[PairGroup], reads: Sequence[Tensor]) -> Tensor:
    """Return the sum over pairs of the mean loss over turns, without margins, which are for whole conversations."""
    total = reads[0].new_zeros(())
    pairs = [pair for group in groups for pair in group.pairs]
    for pair, ours, theirs in zip(pairs, reads[::2], reads[1::2], strict=True):
        if objective.per_turn and pair.turns:
            left, right = (list(side) for side in zip(*pair.turns, strict=True))
            losses = bradley_terry_losses(ours[left], theirs[right], 0.0, objective.label_smoothing)
            total = total + objective.per_turn * losses.mean()
    return total


def _ranked(objective: Objective, groups: Sequence[PairGroup], chosen: Tensor, rejected: Tensor) -> Tensor:
    """Return the sum over groups of `-log softmax(rewards)[chosen]`: the chosen side should be the best of its group.

    This is the Plackett-Luce likelihood of a ranking whose top alone is known. With two candidates it is Bradley-Terry.
    """
    sizes = [len(group.pairs) for group in groups]
    total = chosen.new_zeros(())
    for ours, theirs in zip(torch.split(chosen, sizes), torch.split(rejected, sizes), strict=True):
        centering = objective.center_rewards_coefficient * _centering_losses(ours, theirs).mean()
        candidates = torch.cat([ours[:1], theirs]).float()
        total = total - nn.functional.log_softmax(candidates, dim=0)[0] + centering
    return total


def _centering_losses(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Return `(chosen + rejected)^2` per pair, which pulls the mean reward to zero (as in TRL)."""
    return (chosen.float() + rejected.float()) ** 2
