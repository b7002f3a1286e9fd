"""LoRA through peft: adapters on all linear layers of the backbone, a head that is trained in full."""

from typing import Any

from transformers import PreTrainedModel

from music.errors import InvalidInputError

__all__ = ["add_adapters", "merge_adapters"]


def add_adapters(classifier: PreTrainedModel, rank: int, alpha: int | None) -> Any:
    """Put adapters into a classifier, and let nothing but them and the score head be trained.

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
    return adapters


def merge_adapters(adapters: Any) -> PreTrainedModel:
    """Return the classifier with what the adapters learnt in its own weights."""
    classifier: PreTrainedModel = adapters.merge_and_unload()
    return classifier
