"""Loads and saves models without the bars and warnings of transformers."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["quiet_transformers"]


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers from drawing bars, and from warning of what is judged here, such as a missing score head.

    What it and peft say of each other's deprecated names is left out, too: no user can do anything about it.
    """
    from transformers.utils import logging as transformers_logging

    logging_: Any = transformers_logging  # parts of it carry no annotations
    verbosity, bars = logging_.get_verbosity(), logging_.is_progress_bar_enabled()
    logging_.set_verbosity_error()
    logging_.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logging_.set_verbosity(verbosity)
        if bars:
            logging_.enable_progress_bar()
