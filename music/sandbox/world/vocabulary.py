"""The words of the sandbox's world, and the acts of users and assistants that use them.

Users ask for tips on hobbies. A request has a topic, an aspect and a count. Users also state facts about themselves,
and wishes for the rest of the conversation. Every word has only one meaning, so text can be read back; the words are
nouns that combine freely ("camping cost", "coffee timing").
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["ASPECTS", "COUNTS", "FACTS", "LEXICON", "NUM_STEPS", "STANDING", "TOPICS", "Ask", "AskKind", "Fact"]
__all__ += ["MemoryAsk", "Reply", "Standing", "Statement", "Tip", "UserAct", "neighbours"]


class Standing(StrEnum):
    """Wishes that hold from the turn in which they are stated until the end of the conversation."""

    ADDRESS = "address"
    END = "end"
    AVOID = "avoid"


class Fact(StrEnum):
    """Facts about the user that the user can ask for later."""

    JOB = "job"
    PET = "pet"
    BIRTHDAY = "birthday"


DOMAINS: dict[str, tuple[str, ...]] = {
    "kitchen": ("bread", "barbecue", "coffee", "pasta"),
    "garden": ("tomato", "rose", "lawn", "orchid"),
    "outdoors": ("camping", "hiking", "fishing", "kayak"),
    "studio": ("watercolor", "pottery", "knitting", "guitar"),
}
TOPICS: tuple[str, ...] = tuple(topic for group in DOMAINS.values() for topic in group)
ASPECTS: tuple[str, ...] = ("cost", "timing", "safety", "gear", "technique")
COUNTS: dict[int, str] = {1: "one", 2: "two", 3: "three"}
NUM_STEPS = (2, 3)
"""Possible numbers of steps of a plan."""
STANDING: dict[Standing, tuple[str, ...]] = {
    Standing.ADDRESS: ("Nora", "Omar", "Lena", "Hugo", "Mina", "Ivan", "Rosa", "Theo"),
    Standing.END: ("Cheers", "Onward", "Regards", "Peace", "Bravo", "Godspeed"),
    Standing.AVOID: ("phone", "notebook", "timer", "calendar", "mirror"),
}
FACTS: dict[Fact, tuple[str, ...]] = {
    Fact.JOB: ("nurse", "teacher", "baker", "pilot", "lawyer", "farmer"),
    Fact.PET: ("dog", "cat", "parrot", "rabbit", "horse", "turtle"),
    Fact.BIRTHDAY: ("March", "April", "June", "July", "October", "December"),
}

LEXICON: Mapping[str, tuple[str, str | int]] = (
    {topic: ("topic", topic) for topic in TOPICS}
    | {aspect: ("aspect", aspect) for aspect in ASPECTS}
    | {word: ("count", count) for count, word in COUNTS.items()}
    | {word.lower(): (kind.value, word) for kind, words in STANDING.items() for word in words}
    | {word.lower(): (fact.value, word) for fact, words in FACTS.items() for word in words}
)
"""For each word in lower case: its slot and its value."""


def neighbours(topic: str) -> list[str]:
    """Return the other topics of a topic's domain."""
    group = next(group for group in DOMAINS.values() if topic in group)
    return [other for other in group if other != topic]


class AskKind(StrEnum):
    """Kinds of requests; all except NEW refer to earlier turns (the four kinds of MT-Eval, expansion in two forms)."""

    NEW = "new"
    EXPANSION = "expansion"
    SWAP = "swap"
    REFINEMENT = "refinement"
    FOLLOW_UP = "follow_up"
    RECOLLECTION = "recollection"


class MemoryAsk(StrEnum):
    """Kinds of requests that only users with memory make; the right reply depends on earlier replies or on a plan."""

    QUOTE = "quote"
    """Asks what the assistant said in an earlier turn."""
    PLAN = "plan"
    """Announces a goal: aspects of one topic, each in its turn. The reply is about the first one."""
    STEP = "step"
    """Asks for the next step of the plan."""
    CORRECTION = "correction"
    """Points out an error of the last reply, and repeats the request."""


@dataclass(frozen=True, slots=True)
class Ask:
    """The request of one user message; slots that are left to the history are None.

    Attributes:
        kind: The kind of the request.
        topic: Of the tips.
        aspect: Of the tips.
        count: Number of tips.
        fact: The fact that a recollection asks for.
        turn: The assistant turn that a quote asks for, from 1.
        steps: The aspects of a plan, in order.
        error: The kind of error that a correction points out; None if the user does not name it.
    """

    kind: AskKind | MemoryAsk
    topic: str | None = None
    aspect: str | None = None
    count: int | None = None
    fact: Fact | None = None
    turn: int | None = None
    steps: tuple[str, ...] = ()
    error: str | None = None


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
class Tip:
    """One tip; None if the text names no topic or no aspect."""

    topic: str | None
    aspect: str | None


@dataclass(frozen=True, slots=True)
class Reply:
    """One assistant message: the tips, the recalled fact, and the parts that standing wishes are about.

    `quotes` is whether the tips are written as what the assistant said earlier. It is not read back.
    """

    tips: tuple[Tip, ...] = ()
    fact: Statement | None = None
    name: str | None = None
    resources: tuple[str, ...] = ()
    ending: str | None = None
    quotes: bool = field(default=False, compare=False)
