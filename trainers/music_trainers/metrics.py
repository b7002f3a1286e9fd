"""The Bradley-Terry loss, and how well a model ranks held-out pairs."""

from collections.abc import Sequence

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from music.reward.contract import RewardStatistics
from music.reward.forward import score_rows
from music_trainers.data import EncodedPair
from music_trainers.records import HeldOutMetrics

__all__ = ["bradley_terry_losses", "evaluate"]


def bradley_terry_losses(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Return `-log sigmoid(chosen - rejected)` per pair; all of shape `[pairs]`."""
    return -nn.functional.logsigmoid(chosen - rejected)


def evaluate(
    classifier: nn.Module, pairs: Sequence[EncodedPair], accelerator: Accelerator, pad_token_id: int
) -> tuple[HeldOutMetrics, RewardStatistics]:
    """Rank held-out pairs; leaves the classifier in the mode it was in."""
    was_training = classifier.training
    classifier.eval()
    rows = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
    with accelerator.autocast():
        scores = score_rows(classifier, rows, pad_token_id=pad_token_id, device=accelerator.device)
    classifier.train(was_training)
    rewards = torch.tensor([score for [score] in scores], dtype=torch.float64)
    chosen, rejected = rewards.chunk(2)
    metrics = HeldOutMetrics(
        num_pairs=len(pairs),
        accuracy=(chosen > rejected).double().mean().item(),
        nll=bradley_terry_losses(chosen, rejected).mean().item(),
        mean_margin=(chosen - rejected).mean().item(),
    )
    std = rewards.std(correction=0).item()
    return metrics, RewardStatistics(mean=rewards.mean().item(), std=std, num_conversations=len(rewards))
