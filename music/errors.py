"""The one error root of the project, and the errors that every room may raise.

A message says what was expected, what came, and how to mend it. Rooms add their own children beside the
code that raises them (`music.llm.chat` for endpoints, for example).
"""

__all__ = ["InvalidInputError", "MusicError"]


class MusicError(Exception):
    """Root of all errors that a user of the toolkit can mend; the command line shows it without a traceback."""


class InvalidInputError(MusicError, ValueError):
    """A value, a file or a flag is not what is needed."""
