"""What users and assistants of the sandbox can say, without the words."""

from dataclasses import dataclass
from enum import StrEnum

from music.sandbox.world import Fact, Standing

__all__ = ["Ask", "Item", "Kind", "Reply", "Statement", "UserAct"]


class Kind(StrEnum):
    """Kinds of requests; all but NEW lean on the turns before (the four kinds of MT-Eval, expansion in two forms)."""

    NEW = "new"
    EXPANSION = "expansion"
    SWAP = "swap"
    REFINEMENT = "refinement"
    FOLLOW_UP = "follow_up"
    RECOLLECTION = "recollection"


@dataclass(frozen=True, slots=True)
class Ask:
    """What one user message asks for, as said: slots that are left to the history are None."""

    kind: Kind
    topic: str | None = None
    aspect: str | None = None
    count: int | None = None
    fact: Fact | None = None


@dataclass(frozen=True, slots=True)
class Statement:
    """A standing wish or a fact that the user states."""

    about: Standing | Fact
    value: str


@dataclass(frozen=True, slots=True)
class UserAct:
    """One user message."""

    ask: Ask
    statements: tuple[Statement, ...] = ()


@dataclass(frozen=True, slots=True)
class Item:
    """One tip; None where the text names no topic or no aspect."""

    topic: str | None
    aspect: str | None


@dataclass(frozen=True, slots=True)
class Reply:
    """One assistant message: the tips, the fact recalled, and what bears on standing wishes."""

    items: tuple[Item, ...] = ()
    fact: Statement | None = None
    name: str | None = None
    resources: tuple[str, ...] = ()
    ending: str | None = None
