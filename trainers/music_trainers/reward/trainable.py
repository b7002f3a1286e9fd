"""What of a classifier is trained, and how its layers behave while it is."""

from typing import Any

from torch import nn
from transformers import PreTrainedModel

from music_trainers.reward.config import RewardTrainingConfig
from music_trainers.reward.lora import add_adapters

__all__ = ["make_trainable"]


def make_trainable(classifier: PreTrainedModel, config: RewardTrainingConfig) -> Any:
    """Set a classifier up for training, in place: adapters, dropout, activation checkpointing.

    Returns:
        peft's model of the adapters with LoRA, else None.
    """
    if not config.dropout:
        _turn_dropout_off(classifier)
    adapters = add_adapters(classifier, config.lora_rank, config.lora_alpha) if config.lora_rank else None
    if config.activation_checkpointing == "full":
        enable: Any = classifier.gradient_checkpointing_enable
        enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return adapters


def _turn_dropout_off(classifier: PreTrainedModel) -> None:
    """Set every probability of dropping something to 0: `nn.Dropout`, numbers in layers, and those in configs.

    Most layers take a number from the config when they are made, some when they run. The base's config is saved from a
    copy.
    """
    for module in classifier.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    config = classifier.config
    for holder in (*classifier.modules(), config, config.get_text_config()):
        for name, value in vars(holder).items():
            if "drop" in name and isinstance(value, float):
                setattr(holder, name, 0.0)
