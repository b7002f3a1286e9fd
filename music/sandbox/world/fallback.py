"""Fluent, deterministic messages about any text, for conversations outside the sandbox's world.

A real seed can be about anything. Its longer words serve as topics. The user asks about one of them; the assistant
answers about it and mentions the first topic of the conversation. A careless assistant sometimes answers about another
topic, and a contrast always does.
"""

import random
import re

from music.conversation import Conversation

__all__ = ["any_contrast", "any_reply", "any_user_turn"]

_WORD = re.compile(r"[A-Za-z][a-z]{4,15}")
_COMMON = frozenset(
    re.findall(
        r"\w+",
        """
about above after again anywhere against along already although always among another answer around because
become before began begin being below between careful could doesn doing during either every example first
further general getting given going great happy having helpful however human important itself known large later
least letme little matter matters maybe might never often other others please point possible rather really right
second several shall short should simple since small some sorry start still such sure tell thank thanks their
theirs them themselves there these thing things think third those through today under until using usually
various wants weren where whether which while whose within without would wouldn write wrote years yours yourself
""",
    )
)
_QUESTIONS = (
    "Could you tell me more about {topic}?",
    "What should I know about {topic}?",
    "How does {topic} fit into this?",
    "Can you give a short example with {topic}?",
    "Why does {topic} matter here?",
    "And what about {topic}?",
)
_ANSWERS = (
    "In short, {topic} matters here because the rest depends on it. Start with {topic} and keep it simple.",
    "Think of {topic} as one part of the whole. Look at {topic} on its own first, then at how it fits.",
    "A simple way to see {topic} is to take one small case and follow it step by step.",
    "The main thing about {topic} is to be clear on what you want from it. The details of {topic} come later.",
    "There are two sides to {topic}: what it is for, and what it costs. Most people forget the second.",
)
_LINK = " Keep in mind that you began with {topic}."
_NO_LINK = " Keep in mind that you can begin anywhere."
_STRAY_RATE = 0.3
_MODIFIED = "Could you tell me about {topic}?"
_ASKED = re.compile("|".join(re.escape(q).replace(r"\{topic\}", r"([A-Za-z]+)") for q in _QUESTIONS))


def topics(text: str) -> list[str]:
    """Return the distinct longer words of a text, in order, without common words."""
    words = (word.lower() for word in _WORD.findall(text[-4000:]))
    return list(dict.fromkeys(word for word in words if word not in _COMMON)) or ["this"]


def any_user_turn(conversation: Conversation, rng: random.Random) -> str:
    """Ask about a word of the last exchange."""
    recent = " ".join(message.content for message in conversation.messages[-2:])
    known = topics(recent)
    return rng.choice(_QUESTIONS).format(topic=rng.choice(known))


def any_reply(conversation: Conversation, rng: random.Random, carelessness: float) -> str:
    """Answer about the topic of the last user message or, if careless, about another topic."""
    asked = _asked(conversation, rng)
    strays, stray = rng.random() < _STRAY_RATE * carelessness, rng.choice(_other_topics(conversation, asked))
    return _answer(conversation, stray if strays else asked, rng)


def any_contrast(conversation: Conversation, rng: random.Random) -> tuple[str, str]:
    """Return a modified instruction about another word, and the answer to it."""
    topic = rng.choice(_other_topics(conversation, _asked(conversation, rng)))
    return _MODIFIED.format(topic=topic), _answer(conversation, topic, rng)


def _answer(conversation: Conversation, topic: str, rng: random.Random) -> str:
    """Answer about a topic, with a link to the history if there is one, else with a sentence of the same length."""
    first, *later = (message.content for message in conversation.messages if message.role == "user")
    return rng.choice(_ANSWERS).format(topic=topic) + (_LINK.format(topic=topics(first)[0]) if later else _NO_LINK)


def _other_topics(conversation: Conversation, asked: str) -> list[str]:
    """Return the other topics of a conversation."""
    everything = " ".join(message.content for message in conversation.messages)
    return [word for word in topics(everything) if word != asked] or ["something else"]


def _asked(conversation: Conversation, rng: random.Random) -> str:
    """Return the word that the last user message asks about."""
    last = conversation.messages[-1].content
    match = _ASKED.search(last)
    return next(filter(None, match.groups())) if match else rng.choice(topics(last))
