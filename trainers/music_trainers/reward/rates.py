"""A guard against learning rates that belong to another kind of training."""

from transformers import PreTrainedModel

from music.errors import InvalidInputError
from music.reward.loading import count_text
from music_trainers.reward.config import LORA_RATE, RewardTrainingConfig

__all__ = ["LARGE_RATE", "SMALL_MODEL", "require_fitting_rate"]

LARGE_RATE = LORA_RATE
"""The lowest rate at which LoRA is usually trained; full fine-tuning of billions of weights takes a fiftieth of it."""
SMALL_MODEL = 100_000_000
"""Parameters up to which any rate passes: models of this size are often trained from scratch, at 1e-4 to 3e-3."""


def require_fitting_rate(config: RewardTrainingConfig, classifier: PreTrainedModel) -> None:
    """Refuse to fine-tune a large model in full at a rate that is meant for adapters.

    Raises:
        InvalidInputError: The rate is `LARGE_RATE` or above and the model larger than `SMALL_MODEL`.
    """
    is_small = classifier.num_parameters() <= SMALL_MODEL
    if config.learning_rate >= LARGE_RATE and not (config.lora_rank or config.allow_large_rate or is_small):
        raise InvalidInputError(
            f"learning rate {config.learning_rate:g}: expected less than {LARGE_RATE:g} for full fine-tuning of a "
            f"model of more than {SMALL_MODEL // 1_000_000}M parameters (this one has {count_text(classifier)}), as "
            "larger ones unlearn what the model knows. Take about 2e-6, train adapters (--lora-rank), or insist "
            "(--allow-large-rate)"
        )
