"""`Check`: one thing that the doctor has looked at."""

from enum import StrEnum

from music.config import Config

__all__ = ["Check", "State"]


class State(StrEnum):
    """What a check found."""

    OK = "ok"
    OPTIONAL = "optional"
    """Absent, and only some commands need it."""
    PROBLEM = "problem"
    """A command that needs it fails."""


class Check(Config):
    """One thing that the doctor has looked at."""

    area: str
    """Heading under which it is shown."""
    name: str
    """What was looked at."""
    state: State = State.OK
    """What was found."""
    text: str
    """The finding, for people."""
    fix: str = ""
    """The command or the step that gets what is missing."""
