"""Weights in: a sequence classifier with one label from a checkpoint, and a head for one that has none."""

from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from music.errors import InvalidInputError

__all__ = ["init_head", "load_classifier"]


def load_classifier(path: str, dtype: torch.dtype) -> tuple[PreTrainedModel, list[str]]:
    """Load the classifier and name the weights that the checkpoint lacks."""
    try:
        config = AutoConfig.from_pretrained(path)
        if any("Classification" in name for name in config.architectures or ()) and config.num_labels != 1:
            raise InvalidInputError(f"{path}: expected one reward, got a classifier with {config.num_labels} labels")
        classifier, info = AutoModelForSequenceClassification.from_pretrained(
            path,
            num_labels=1,
            problem_type="regression",
            dtype=dtype,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, SafetensorError) as error:
        if isinstance(error, InvalidInputError):
            raise
        raise InvalidInputError(
            f"{path}: expected a checkpoint in safetensors, local or on the hub: {str(error).partition(chr(10))[0]}"
        ) from error
    if not isinstance(getattr(classifier, "score", None), torch.nn.Linear):
        name = type(classifier).__name__
        raise InvalidInputError(f"{path}: expected a causal model with a `score` head on its last token, got {name}")
    return classifier, sorted(info["missing_keys"])


def init_head(classifier: Any, seed: int | None) -> None:
    """Draw the head from N(0, 1/(hidden size + 1)): small enough that the first rewards hardly differ."""
    generator = torch.Generator().manual_seed(seed or 0)
    weight = classifier.score.weight
    std = 1 / (weight.shape[1] + 1)
    weight.data = (torch.randn(weight.shape, generator=generator) * std).to(weight.dtype)
