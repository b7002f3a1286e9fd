"""PEFT adapters, merged with their base model into one classifier.

They are merged in fp32, whatever their own dtype, because a LoRA update is often smaller than half a step of bf16.
"""

from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from music.errors import InvalidInputError
from music.names import find_model
from music.reward.loading.classifier import load_classifier
from music.reward.loading.weights import find_file, has_weights, listed, read_file, text_weights

__all__ = ["ADAPTER_CONFIG", "is_adapter", "load_adapted"]

ADAPTER_CONFIG = "adapter_config.json"
_ADAPTER_WEIGHTS = "adapter_model.safetensors"
_WRAPPER = "base_model.model."
_EMBEDDING = "embed_tokens.weight"
# A classifier has no language model head. peft writes the others a second time where it saves an embedding.
_SUPERFLUOUS = ("lm_head.", ".modules_to_save.", ".original_module.")


def is_adapter(path: str) -> bool:
    """Whether a checkpoint holds adapters for another model."""
    return find_file(path, ADAPTER_CONFIG) is not None


def load_adapted(path: str, dtype: torch.dtype) -> tuple[PreTrainedModel, bool, str]:
    """Load the base model that adapters name, and merge the adapters into it.

    Returns:
        The classifier, whether it has a reward head, and the base's path.

    Raises:
        InvalidInputError: peft is not installed, or the base is missing, or the adapters do not fit it.
    """
    settings = _read_settings(path)
    weights = _read_weights(path)
    base = _base(path, settings)
    classifier, has_head = load_classifier(base, torch.float32)
    adapted = _attach(path, classifier, settings, weights)
    merged: Any = adapted.merge_and_unload().requires_grad_(True)  # peft froze it
    merged.config._name_or_path = path
    return merged.to(dtype), has_head or any(".score." in f".{name}" for name in weights), base


def _read_settings(path: str) -> Any:
    try:
        from peft import PeftConfig
    except ImportError as error:
        raise InvalidInputError(
            f"{path}: it is a PEFT adapter, which needs peft: pip install 'music-rm[peft]'"
        ) from error
    try:
        settings = PeftConfig.from_pretrained(path)
    except (OSError, ValueError, TypeError, KeyError) as error:
        why = str(error).partition("\n")[0]
        raise InvalidInputError(f"{path}: expected an {ADAPTER_CONFIG} that peft can read, got: {why}") from error
    if settings.is_prompt_learning or settings.is_adaption_prompt:
        raise InvalidInputError(
            f"{path}: its adapter is {settings.peft_type.value}, which does not change weights and cannot be merged"
        )
    return settings


def _read_weights(path: str) -> dict[str, Any]:
    """Return the adapters' weights by name; for a multimodal base, only those of its text model and its head."""
    file = find_file(path, _ADAPTER_WEIGHTS)
    if file is None:
        raise InvalidInputError(
            f"{path}: expected {_ADAPTER_WEIGHTS}; pickled adapters are not read. If you trust them, load them with "
            "peft and save them again with save_pretrained"
        )
    slices = {n: each for n, each in read_file(path, file).items() if not any(part in n for part in _SUPERFLUOUS)}
    weights = {name: each[...] for name, each in slices.items()}
    named = {name.removeprefix(_WRAPPER): tensor for name, tensor in weights.items()}
    text = text_weights(named, "model")
    if text is named:
        return weights
    # Only the text model of a multimodal base is loaded, so its weights get the names of a text model.
    head = {name: tensor for name, tensor in named.items() if name.startswith("score.")}
    return {f"{_WRAPPER}{name}": tensor for name, tensor in (text | head).items()}


def _base(path: str, settings: Any) -> str:
    """Return the base's path. As in transformers, this is the folder itself if it also holds a whole model."""
    if (Path(path) / "config.json").is_file() and has_weights(path):
        return path
    base = settings.base_model_name_or_path
    if not base:
        raise InvalidInputError(f"{path}: expected an adapter that names its base (base_model_name_or_path), got none")
    try:
        find_model(base, "language_model")
    except InvalidInputError as error:
        raise InvalidInputError(
            f"{path}: it is an adapter for {base}, which cannot be loaded: {error}. Write its path into "
            f"base_model_name_or_path of {path}/{ADAPTER_CONFIG}"
        ) from error
    if not find_file(base, "config.json"):
        raise InvalidInputError(f"{path}: it is an adapter for {base}, itself an adapter. Merge that one first")
    return str(base)


def _attach(path: str, classifier: PreTrainedModel, settings: Any, weights: dict[str, Any]) -> Any:
    """Attach adapters with these weights to a classifier; no weight may be left over or missing."""
    from peft import PeftModel, set_peft_model_state_dict

    rows = next((len(tensor) for name, tensor in weights.items() if name.endswith(_EMBEDDING)), None)
    embedding: Any = classifier.get_input_embeddings()
    if rows is not None and rows != embedding.num_embeddings:  # an embedding saved with the adapters may have grown
        classifier.resize_token_embeddings(rows, mean_resizing=False)
    settings.task_type, settings.inference_mode = None, True  # attach to a plain model
    if settings.modules_to_save:
        settings.modules_to_save = [m for m in settings.modules_to_save if any(f".{m}." in name for name in weights)]
    model: Any = classifier  # peft declares another type
    try:
        adapted = PeftModel(model, settings)
        result: Any = set_peft_model_state_dict(adapted, weights)
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        why = " ".join(str(error).split())[:200]
        raise InvalidInputError(f"{path}: its adapters do not fit {classifier.config.name_or_path}: {why}") from error
    missing = [name for name in result.missing_keys if ".default" in name]
    if missing or result.unexpected_keys:
        names = listed(result.unexpected_keys or missing)
        why = "has no place there" if result.unexpected_keys else "missing"
        raise InvalidInputError(f"{path}: its adapters do not fit {classifier.config.name_or_path}: {names} {why}")
    return adapted
