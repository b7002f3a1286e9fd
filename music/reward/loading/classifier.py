"""Loading weights exactly into a sequence classifier with one label, or explaining why that is impossible."""

from typing import Any

import torch
from transformers import PreTrainedModel

from music.errors import InvalidInputError
from music.reward.loading.architecture import classifier_class, read_config, without_language_head
from music.reward.loading.heads import put_head, take_head
from music.reward.loading.weights import listed, load_weights, text_weights

__all__ = ["load_classifier", "require_finite"]


def load_classifier(path: str, dtype: torch.dtype) -> tuple[PreTrainedModel, bool]:
    """Return a classifier, and whether the checkpoint has a reward head; without one, its head is arbitrary.

    Every weight of the model comes from the checkpoint, and every weight of the checkpoint belongs to the model, except
    a language model's head and the parts of a multimodal model that do not read text.

    Raises:
        InvalidInputError: The checkpoint is not a causal model, has a reward head other than a single linear one, or is
            damaged.
    """
    config = read_config(path)
    classifier_type: Any = classifier_class(path, config)
    weights = load_weights(path)
    head = take_head(path, weights, config)
    weights = text_weights(weights, classifier_type.base_model_prefix)
    classifier, info = _load(path, classifier_type, config, weights, dtype)
    if not isinstance(getattr(classifier, "score", None), torch.nn.Linear):
        name = type(classifier).__name__
        raise InvalidInputError(f"{path}: expected a causal model with a `score` head on its last token, got {name}")
    _require_all(path, classifier, info)
    if head is not None:
        put_head(path, classifier, head)
    classifier.config._name_or_path = path
    return classifier, head is not None


def require_finite(path: str, classifier: PreTrainedModel) -> None:
    """Check that all weights are finite numbers.

    Raises:
        InvalidInputError: A weight is NaN or infinite.
    """
    for name, weight in classifier.state_dict().items():
        if not weight.is_floating_point() or weight.is_meta:  # other processes get their weights from the first one
            continue
        # A sum reads the weights once and needs no memory. Only if it is not finite are all weights checked.
        if not weight.sum(dtype=torch.float32).isfinite() and not weight.isfinite().all():
            num = int((~weight.isfinite()).sum())
            raise InvalidInputError(
                f"{path}: expected weights that are finite numbers, but {num:,} of {name} are NaN or infinite. Its "
                "training diverged, or the file is damaged"
            )


def _load(
    path: str, classifier_type: Any, config: Any, weights: dict[str, Any], dtype: torch.dtype
) -> tuple[PreTrainedModel, dict[str, Any]]:
    try:
        loaded: tuple[PreTrainedModel, dict[str, Any]] = classifier_type.from_pretrained(
            None,
            config=config,
            state_dict=weights,
            dtype=dtype,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused by name afterwards
        )
        return loaded
    # Errors that the constructors of models raise on odd settings.
    except (
        RuntimeError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        AssertionError,
        ArithmeticError,
        ImportError,
    ) as error:
        why = f"{type(error).__name__} {next(filter(None, str(error).splitlines()), '')}"
        raise InvalidInputError(f"{path}: expected weights that fit its config.json, got: {why}") from error


def _require_all(path: str, classifier: PreTrainedModel, info: dict[str, Any]) -> None:
    name = type(classifier).__name__
    if mismatched := sorted((key, list(saved), list(own)) for key, saved, own in info["mismatched_keys"]):
        key, saved, own = mismatched[0]
        raise InvalidInputError(
            f"{path}: expected weights that fit its config.json, got {key} of shape {saved} instead of {own}"
        )
    if missing := set(info["missing_keys"]) - {"score.weight"}:
        raise InvalidInputError(f"{path}: expected all weights of {name}, but the checkpoint lacks {listed(missing)}")
    if unexpected := without_language_head(classifier.config, set(info["unexpected_keys"])):
        raise InvalidInputError(
            f"{path}: it has weights for which {name} has no place, so its scores would differ: {listed(unexpected)}"
        )
