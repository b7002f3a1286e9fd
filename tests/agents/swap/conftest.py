import pytest

from music.conversation import Conversation
from music_agents.defects.swaps import Transcript

TOPICS = ["tea", "coffee", "bread", "soup", "cake", "rice", "fish", "salad", "pasta", "curry", "pizza", "juice"]


def talk(name, *exchanges, system=""):
    """Return a conversation of (request, reply) pairs."""
    messages = [{"role": "system", "content": system}] if system else []
    for request, reply in exchanges:
        messages += [{"role": "user", "content": request}, {"role": "assistant", "content": reply}]
    return Transcript(id=name, source="made", conversation=Conversation.from_messages(messages))


@pytest.fixture
def transcripts():
    """Twelve conversations of three turns whose requests differ in a few words."""
    made = []
    for number, topic in enumerate(TOPICS):
        other = TOPICS[(number + 1) % len(TOPICS)]
        exchanges = (
            (f"How do I make good {topic} at home today", f"Good {topic} needs patience and fresh water."),
            (f"What goes well with {topic} and {other}", f"With {topic} I would serve a bit of {other}."),
            (f"Which shop sells {topic} or {other} near me", f"The corner shop has {topic} every morning."),
        )
        made.append(talk(f"t-{number}", *exchanges, system="Be kind." if number == 3 else ""))
    return made
