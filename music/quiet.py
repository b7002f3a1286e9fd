"""What other libraries print that users of this toolkit cannot act on, and how to keep it off the screen.

- `quiet_transformers`: loads and saves models without the progress bars and warnings of transformers.
- `hide_missing_kernels`: hides a warning of bitsandbytes at its import.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["hide_missing_kernels", "quiet_transformers"]


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Turn off progress bars of transformers, and its warnings about what this toolkit checks, such as a score head.

    Warnings of transformers and peft about each other's deprecated names are off too: users cannot act on them.
    """
    from transformers.utils import logging as transformers_logging

    logging_: Any = transformers_logging  # parts of it have no annotations
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


def hide_missing_kernels() -> None:
    """Hide, in this process, bitsandbytes' warning that an optional kernel for 4-bit weights on the CPU is missing.

    TRL and peft import bitsandbytes where it is installed, whether or not a model has 4-bit weights.
    """
    logging.getLogger("bitsandbytes.backends.cpu.ops").addFilter(_is_not_about_kernels)


def _is_not_about_kernels(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("Failed to load CPU gemm_4bit_forward")
