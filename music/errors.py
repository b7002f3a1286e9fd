"""The one error root of the project, and the error that every module may raise.

A message states what was expected, what came, and how to fix it. Packages add their own children beside the code that
raises them (`music.llm.chat` for endpoints, for example).
"""

from typing import Any

__all__ = ["InvalidInputError", "MusicError"]


class MusicError(Exception):
    """Root of all errors that a user of the toolkit can fix; the command line shows it without a traceback.

    Example:
        >>> from music import MusicError
        >>> from music.preferences import read_preferences
        >>> try:
        ...     read_preferences("no/such/file.jsonl")
        ... except MusicError as error:
        ...     print(str(error)[:35])
        no/such/file.jsonl: expected a file

    Every child survives pickling, whatever the arguments of its `__init__`: worker processes send errors home.
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
    """A value, a file or a flag is not what is needed."""
