"""LoRA through peft: adapters on all linear layers, a head that is trained in full.

Adapters and head are fp32 whatever the frozen weights are. An adapter's part of a weight is mostly smaller than half a
step of bf16, so that a sum rounded to bf16 would leave it out: what is merged is fp32, too.
"""

from typing import Any

import torch
from transformers import PreTrainedModel

from music.errors import InvalidInputError
from music_trainers.reward.four_bit import whole_layers

__all__ = ["add_adapters", "merge_adapters"]


def add_adapters(classifier: PreTrainedModel, rank: int, alpha: int | None) -> Any:
    """Put adapters into a classifier, and let nothing but them and the score head be trained.

    Args:
        classifier: Changed in place.
        rank: Of the adapters.
        alpha: Their scale; twice the rank if None.

    Returns:
        peft's model of the adapters, for `merge_adapters`.

    Raises:
        InvalidInputError: peft is not installed.
    """
    try:
        from peft import LoraConfig, LoraModel
    except ImportError as error:
        raise InvalidInputError("LoRA needs peft: pip install 'music-rm[peft]'") from error
    settings = LoraConfig(
        r=rank,
        lora_alpha=alpha or 2 * rank,
        target_modules="all-linear",
        exclude_modules=["score"],
        task_type="SEQ_CLS",
    )
    adapters = LoraModel(classifier, {"default": settings}, "default")
    head: Any = classifier.score
    head.requires_grad_(True)
    for weight in classifier.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    return adapters


def merge_adapters(adapters: Any) -> PreTrainedModel:
    """Return the classifier on the CPU in fp32, with what the adapters learnt in its own weights."""
    whole = whole_layers(adapters.model)
    adapters.model.to("cpu", torch.float32)
    classifier: PreTrainedModel = adapters.merge_and_unload()
    for name, layer in whole.items():
        classifier.set_submodule(name, layer)
    return classifier
