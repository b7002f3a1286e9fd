"""How a small reward model is trained further, the same for every arm: from the shipped starting model, on one core."""

from collections.abc import Sequence
from pathlib import Path

from music.pairs import PreferencePair
from music.sandbox.artifacts import REWARD_MODEL
from music_trainers.reward.config import Objective, RewardTrainingConfig
from music_trainers.reward.records import RewardTrainingResult

__all__ = ["last_loss", "train_arm", "use_one_thread"]

LEARNING_RATE = 1e-3
BATCH_SIZE = 8


def train_arm(
    pairs: Sequence[PreferencePair], out: Path, seed: int, objective: Objective | None = None
) -> RewardTrainingResult:
    """Train the starting model on an arm's pairs and save it to `out`; `seed` draws the order of the pairs."""
    from music_trainers.reward.trainer import train_reward_model

    config = RewardTrainingConfig(
        base=str(REWARD_MODEL),
        out=out,
        objective=objective or Objective(),
        learning_rate=LEARNING_RATE,
        batch_size=BATCH_SIZE,
        seed=seed,
        eval_fraction=0.0,
        checkpoint_every=0,
        overwrite=True,  # a demo that is run again replaces what it made
    )
    return train_reward_model(config, pairs, [])


def last_loss(result: RewardTrainingResult) -> float:
    """Return the mean loss over the last tenth of the steps."""
    tail = result.losses[-max(1, len(result.losses) // 10) :]
    return sum(tail) / len(tail)


def use_one_thread() -> None:
    """Give this process one core: small models gain nothing from more."""
    import torch

    torch.set_num_threads(1)
