"""Saving a model as `transformers` does, without its progress bars and with ordinary file modes."""

from pathlib import Path
from typing import Any

from music.files import set_ordinary_modes
from music.quiet import quiet_transformers

__all__ = ["save_model"]


def save_model(model: Any, tokenizer: Any, directory: str | Path, **options: Any) -> None:
    """Save a model and its tokenizer to a folder.

    Args:
        model: Any `PreTrainedModel`.
        tokenizer: Its tokenizer.
        directory: Where to.
        **options: As `PreTrainedModel.save_pretrained` takes them.
    """
    with quiet_transformers():
        model.save_pretrained(directory, **options)
    tokenizer.save_pretrained(directory)
    set_ordinary_modes(Path(directory))
