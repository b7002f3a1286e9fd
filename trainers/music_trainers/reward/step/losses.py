"""Losses on rewards, in fp32: Bradley-Terry with its variants, and the top choice of Plackett-Luce.

Functions of tensors alone; which of them a run uses, and on which rewards, is in `objective`.
"""

from torch import Tensor, nn

__all__ = ["bradley_terry_losses", "centering_losses", "top_choice_loss"]


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


def centering_losses(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Return `(chosen + rejected)^2` per pair, which draws rewards to a mean of zero (as TRL has it)."""
    return (chosen.float() + rejected.float()) ** 2


def top_choice_loss(rewards: Tensor) -> Tensor:
    """Return `-log softmax(rewards)[0]`, a scalar: that the first of `[candidates]` is the best of them.

    This is the Plackett-Luce likelihood of a ranking of which only the top is known; of two candidates it is
    Bradley-Terry.
    """
    return -nn.functional.log_softmax(rewards.float(), dim=0)[0]
