"""What a reward server logs: never the text of a request.

Messages of errors may quote what was parsed, so unexpected errors are logged by type and place.
"""

import logging
import sys
import traceback

__all__ = ["TextFilter", "log_to_stderr", "where"]


def where(error: BaseException) -> str:
    """Return the lines of code that raised an error, without its message."""
    return "".join(traceback.format_tb(error.__traceback__)).rstrip()


class TextFilter(logging.Filter):
    """Replaces errors in log records by their types: those of a web framework quote what it could not parse."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Remove the error of a record; always return True."""
        if record.exc_info and record.exc_info[0] is not None:
            record.msg, record.args = f"{record.getMessage()}: {record.exc_info[0].__name__}", ()
            record.exc_info = record.exc_text = None
        return True


def log_to_stderr() -> None:
    """Write the server's log to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("music.serving")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
