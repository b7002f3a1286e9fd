"""From the rewards of a packed row to its loss, as an `Objective` has it.

The pieces are in `losses`. All is fp32: rewards come in fp32 from the scorer, whatever the backbone computes in.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from music_trainers.reward.config import Objective
from music_trainers.reward.pairs.groups import PairGroup
from music_trainers.reward.step.losses import bradley_terry_losses, centering_losses, top_choice_loss

__all__ = ["RowLoss", "num_comparisons", "read_out", "row_loss"]


@dataclass(frozen=True, slots=True)
class RowLoss:
    """What a row costs.

    Attributes:
        total: Sum over its comparisons, a scalar.
        num_correct: Pairs whose chosen side scored higher, a scalar; a tie is not a win.
    """

    total: Tensor
    num_correct: Tensor


def num_comparisons(objective: Objective, groups: Sequence[PairGroup]) -> int:
    """Return over how many comparisons the loss is averaged: ranked groups, or pairs."""
    return len(groups) if objective.ranking == "groups" else sum(len(group.pairs) for group in groups)


def read_out(objective: Objective, reads: Sequence[Tensor]) -> Tensor:
    """Return one reward per sequence, `[sequences]`, from the rewards that were read in each."""
    if objective.readout == "turn_mean":
        return torch.stack([each.mean() for each in reads])
    return torch.stack([each[-1] for each in reads])


def row_loss(objective: Objective, groups: Sequence[PairGroup], reads: Sequence[Sequence[Tensor]]) -> RowLoss:
    """Return what the groups of a row cost.

    Args:
        objective: Which losses, and their weights.
        groups: At least one.
        reads: Per group and sequence, the rewards that were read.
    """
    flat = [each for group in reads for each in group]
    chosen, rejected = read_out(objective, flat).view(-1, 2).unbind(1)  # [pairs] each
    if objective.ranking == "groups":
        total = _ranked(objective, groups, chosen, rejected)
    else:
        total = _paired(objective, groups, chosen, rejected) + _per_turn(objective, groups, flat)
    return RowLoss(total, (chosen > rejected).sum())


def _paired(objective: Objective, groups: Sequence[PairGroup], chosen: Tensor, rejected: Tensor) -> Tensor:
    """Return the sum over pairs of what their rewards cost."""
    margins = chosen.new_tensor([objective.margin + pair.margin for group in groups for pair in group.pairs])
    losses = bradley_terry_losses(chosen, rejected, margins, objective.label_smoothing)
    return (losses + objective.center_rewards_coefficient * centering_losses(chosen, rejected)).sum()


def _per_turn(objective: Objective, groups: Sequence[PairGroup], reads: Sequence[Tensor]) -> Tensor:
    """Return the sum over pairs of the mean over their turns; no margin, as it is asked for whole conversations."""
    total = reads[0].new_zeros(())
    pairs = [pair for group in groups for pair in group.pairs]
    for pair, ours, theirs in zip(pairs, reads[::2], reads[1::2], strict=True):
        if objective.per_turn and pair.turns:
            left, right = (list(side) for side in zip(*pair.turns, strict=True))
            losses = bradley_terry_losses(ours[left], theirs[right], 0.0, objective.label_smoothing)
            total = total + objective.per_turn * losses.mean()
    return total


def _ranked(objective: Objective, groups: Sequence[PairGroup], chosen: Tensor, rejected: Tensor) -> Tensor:
    """Return the sum over groups of what it costs that the chosen side is not the best of its group."""
    sizes = [len(group.pairs) for group in groups]
    total = chosen.new_zeros(())
    for ours, theirs in zip(torch.split(chosen, sizes), torch.split(rejected, sizes), strict=True):
        centering = objective.center_rewards_coefficient * centering_losses(ours, theirs).mean()
        total = total + top_choice_loss(torch.cat([ours[:1], theirs])) + centering
    return total
