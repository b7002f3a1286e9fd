"""The base class of all errors of the project, and the error for invalid input.

A message says what was expected, what came, and how to fix it. Packages define their own subclasses beside the code
that raises them, for example in `music.llm.chat`.
"""

from typing import Any

__all__ = ["InvalidInputError", "MusicError"]


class MusicError(Exception):
    """Base class of all errors that a user can fix; the command line shows them without a traceback.

    Example:
        >>> from music import MusicError
        >>> from music.preferences import read_preferences
        >>> try:
        ...     read_preferences("no/such/file.jsonl")
        ... except MusicError as error:
        ...     print(str(error)[:35])
        no/such/file.jsonl: expected a file

    Every subclass can be pickled, whatever the arguments of its `__init__`, so worker processes can return errors.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the error by its arguments and attributes, without calling `__init__` again."""
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[MusicError], args: tuple[Any, ...], attributes: dict[str, Any]) -> MusicError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


class InvalidInputError(MusicError, ValueError):
    """A value, a file or a flag is not valid."""
