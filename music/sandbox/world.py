"""The sandbox's ontology: what can be talked about, and the words for it.

People ask for tips on hobbies. A request has a topic, an aspect and a count; wishes that hold for the whole
conversation and facts about the user are stated on the way. Every word stands for one thing only, so that text can be
read back; the words are nouns that go together ("camping cost", "coffee timing").
"""

from collections.abc import Mapping
from enum import StrEnum

__all__ = ["ASPECTS", "COUNTS", "DOMAINS", "FACTS", "LEXICON", "STANDING", "TOPICS", "Fact", "Standing", "neighbours"]


class Standing(StrEnum):
    """Wishes that hold from the turn in which they are stated to the end of the conversation."""

    ADDRESS = "address"
    END = "end"
    AVOID = "avoid"


class Fact(StrEnum):
    """Facts about the user that can be asked back later."""

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
"""For each word, in lower case: the slot that it fills and the value that it stands for."""


def neighbours(topic: str) -> list[str]:
    """Return the other topics of a topic's domain."""
    group = next(group for group in DOMAINS.values() if topic in group)
    return [other for other in group if other != topic]
