"""A checkpoint's weights by name, read only from safetensors.

Names are those of the model itself: prefixes of wrappers, which some trainers save, are removed.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME
from transformers.utils.hub import cached_file, get_checkpoint_shard_files

from music.errors import InvalidInputError

__all__ = ["find_file", "has_weights", "listed", "load_weights", "read_file", "text_weights"]

Weights = Mapping[str, Any]
"""Slices of safetensors: shapes are known, and numbers are read on access."""

# Of DeepSpeed and DDP, torch.compile, FSDP, TRL's value-head models, PEFT, and DeepSpeed-Chat (with its spelling).
_WRAPPERS = re.compile(
    r"^(?:(?:module|_orig_mod|_fsdp_wrapped_module|pretrained_model|base_model\.model|rwtransformer|rwtranrsformer)\.)+"
)
# Prefixes of the text model in multimodal models, the longest first.
_TEXT_MODELS = (
    "model.language_model.model.",
    "language_model.model.",
    "model.language_model.",
    "language_model.",
    "model.text_model.",
    "text_model.model.",
)
_MAX_SHOWN = 3


def find_file(path: str, name: str) -> str | None:
    """Return the local path of a checkpoint's file, downloaded if need be; None if the checkpoint lacks it.

    Raises:
        InvalidInputError: The hub refuses access.
    """
    try:
        found: str | None = cached_file(
            path, name, _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False
        )
    except OSError as error:
        why = " ".join(str(error).split())[:200]
        raise InvalidInputError(f"{path}: expected a checkpoint that can be read, got: {why}") from error
    return found


def has_weights(path: str) -> bool:
    """Whether a checkpoint has weights in safetensors."""
    return any(find_file(path, name) for name in (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME))


def load_weights(path: str) -> dict[str, Any]:
    """Open all weights of a checkpoint.

    Raises:
        InvalidInputError: There are none in safetensors, or a file of them is missing or damaged.
    """
    weights: dict[str, Any] = {}
    for file in _files(path):
        for name, tensor in read_file(path, file).items():
            if weights.setdefault(name := _WRAPPERS.sub("", name), tensor) is not tensor:
                raise InvalidInputError(f"{path}: expected every weight once, got {name} twice")
    return weights


def read_file(path: str, file: str) -> dict[str, Any]:
    """Open the weights of one file, under the names in that file.

    Raises:
        InvalidInputError: The file is missing or damaged.
    """
    try:
        opened: Any = safe_open(file, framework="pt")
        return {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118 - it is not a mapping
    except FileNotFoundError as error:
        raise InvalidInputError(
            f"{path}: expected the file {Path(file).name}, which its index names; it is missing. Download it again"
        ) from error
    except (OSError, SafetensorError) as error:
        raise InvalidInputError(
            f"{path}: expected a whole file, but {Path(file).name} is damaged or cut off ({error}). Download it again"
        ) from error


def text_weights(weights: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Return the weights of a multimodal model's text model under its own names; a text model's are unchanged.

    Args:
        weights: All of a checkpoint's weights.
        prefix: The name of the backbone in a plain text model, such as `model`.
    """
    for within in _TEXT_MODELS:
        if text := {n.removeprefix(within): w for n, w in weights.items() if n.startswith(within)}:
            return {f"{prefix}.{name}": weight for name, weight in text.items()}
    return weights


def listed(names: Any) -> str:
    """Return the first few names and the number of the others, as text."""
    names = sorted(names)
    more = f" and {len(names) - _MAX_SHOWN} more" if len(names) > _MAX_SHOWN else ""
    return ", ".join(names[:_MAX_SHOWN]) + more


def _files(path: str) -> list[str]:
    """Return the local paths of a checkpoint's files of weights."""
    if file := find_file(path, SAFE_WEIGHTS_NAME):
        return [file]
    if index := find_file(path, SAFE_WEIGHTS_INDEX_NAME):
        try:
            resolve: Any = get_checkpoint_shard_files
            files: list[str] = resolve(path, index)[0]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            why = f"{type(error).__name__} {error}".partition("\n")[0]
            raise InvalidInputError(f"{path}: expected an index of its weights, got: {why}") from error
        return files
    folder = Path(path)
    others = [each.name for kind in ("*.bin", "*.pt", "*.pth", "*.gguf") for each in sorted(folder.glob(kind))]
    if others:
        raise InvalidInputError(
            f"{path}: expected weights in safetensors, got {listed(others)}. Reading a pickle can run code, so "
            "it is not read. If you trust it, load it with transformers' AutoModel class of its kind, and "
            "save it with save_pretrained"
        )
    raise InvalidInputError(f"{path}: expected weights in safetensors, but {SAFE_WEIGHTS_NAME} is missing")
