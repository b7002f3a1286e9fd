"""The errors of a journal."""

from music.errors import InvalidInputError, MusicError

__all__ = ["ChangedSettingsError", "JournalError", "JournalLockedError"]


class JournalError(MusicError):
    """The journal could not be read or written."""


class JournalLockedError(JournalError):
    """Another process has the journal open."""


class ChangedSettingsError(JournalError, InvalidInputError):
    """The journal was written under other settings."""
