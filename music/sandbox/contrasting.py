"""The parts that only the rejected side of a simulation hears: contrasts that stick to a conversation, and guesses.

A contrast keeps to one slot (topic, aspect or count) for a whole conversation, and moves each of its values by the
same step round the ring of its values. So the rejected replies agree with each other as the chosen ones do, and
counting how often replies change their subject, blind to the user, tells little. What is drawn for a conversation
follows from its first user message.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from music.conversation import Conversation
from music.prompts import PromptKind
from music.sandbox import players
from music.sandbox.acts import Ask, Item, Kind, Reply, Statement, UserAct
from music.sandbox.language import read_reply, read_user, write_reply, write_user
from music.sandbox.state import Expectation, expectations, state_after
from music.sandbox.world import ASPECTS, FACTS, STANDING, TOPICS, Fact, Standing, neighbours

__all__ = ["PLAYS", "contrast", "drop_constraint", "guess", "persona_swap", "rewrite"]

T = TypeVar("T")
COUNTS = (1, 2, 3)
SLOTS = ("topic", "aspect", "count")


def contrast(conversation: Conversation, seed: object, carelessness: float) -> tuple[str, str] | None:
    """Change the conversation's slot of the request; return the modified instruction and the answer to it."""
    expected = _expected(conversation, seed)
    if expected is None:
        return None
    ask, modified = _modified(expected, _key(conversation))
    said = players.draft(modified, seed, carelessness)
    return write_user(UserAct(ask), players.stream(seed, "instruction")), _written(said, seed)


def rewrite(conversation: Conversation, seed: object) -> str | None:
    """Change the conversation's slot of the request, and keep what the user states with it."""
    expected, act = _expected(conversation, seed), read_user(conversation.messages[-1].content)
    if expected is None or act is None:
        return None
    ask, _ = _modified(expected, _key(conversation))
    return write_user(UserAct(ask, act.statements), players.stream(seed, "instruction"))


def drop_constraint(conversation: Conversation, seed: object, carelessness: float) -> tuple[str, str] | None:
    """Answer the right request against the standing wishes; the instruction contrast where none was stated."""
    expected = expectations(conversation)[-1]
    play = players.drop_constraint if expected and expected.standing else contrast
    return play(conversation, seed, carelessness)


def persona_swap(conversation: Conversation, seed: object, carelessness: float) -> tuple[str, str] | None:
    """Answer a user who holds other wishes and other facts; one with another goal where neither bears on the reply."""
    expected, act = _expected(conversation, seed), read_user(conversation.messages[-1].content)
    if expected is None or act is None:
        return None
    other, ask = _of_another(expected, _key(conversation)), act.ask
    if not (other.standing or other.fact):
        ask, other = _modified(expected, _key(conversation), "aspect")
    said = players.draft(other, seed, carelessness)
    if said.resources and (wish := expected.standing.get(Standing.AVOID)):
        said = replace(said, resources=(wish,))  # in place of another, so that length gives nothing away
    held = [Statement(kind, wish) for kind, wish in other.standing.items()] + ([other.fact] if other.fact else [])
    return write_user(UserAct(ask, tuple(held)), players.stream(seed, "instruction")), _written(said, seed)


def guess(conversation: Conversation, seed: object, carelessness: float) -> str | None:
    """Answer a request whose history is missing: what it leans on is guessed; None if it is not of this world."""
    expected = _expected(conversation, seed)
    return None if expected is None else _written(players.draft(expected, seed, carelessness), seed)


PLAYS: dict[PromptKind, Callable[[Conversation, object, float], tuple[str, str] | None]] = {
    PromptKind.INSTRUCTION: contrast,
    PromptKind.DROP_CONSTRAINT: drop_constraint,
    PromptKind.PERSONA_SWAP: persona_swap,
}
"""The contrasts that answer in one call, by the part that asks for them."""


def _expected(conversation: Conversation, seed: object) -> Expectation | None:
    """Return what is expected of the last reply; what was never said is taken from an earlier reply, or guessed."""
    act, state = read_user(conversation.messages[-1].content), state_after(conversation)
    known = expectations(conversation)[-1]
    if known is not None or act is None:
        return known
    rng = players.stream(seed, "guess")
    ages = {kind: state.num_turns - 1 - turn for kind, turn in state.stated_at.items()}
    if act.ask.fact is not None:
        fact = Statement(act.ask.fact, rng.choice(FACTS[act.ask.fact]))
        return Expectation(act.ask.kind, (), fact, state.standing, ages)
    guessed = _last_tips(conversation) or (Item(rng.choice(TOPICS), rng.choice(ASPECTS)),) * rng.choice(COUNTS)
    item = Item(state.topic or guessed[0].topic, state.aspect or guessed[0].aspect)
    count = 1 if act.ask.kind is Kind.FOLLOW_UP else act.ask.count or len(guessed)
    return Expectation(act.ask.kind, (item,) * count, None, state.standing, ages)


def _last_tips(conversation: Conversation) -> tuple[Item, ...]:
    """Return the tips of the last reply that has any, for who does not know what they were asked for."""
    replies = (read_reply(m.content).items for m in reversed(conversation.messages) if m.role == "assistant")
    return next(filter(None, replies), ())


def _modified(expected: Expectation, key: str, slot: str = "") -> tuple[Ask, Expectation]:
    """Change one slot of a request, by default the conversation's; return it as an instruction and an expectation."""
    if expected.fact is not None and isinstance(expected.fact.about, Fact):
        about = _moved(tuple(Fact), expected.fact.about, f"{key}/fact")
        value = random.Random(f"{key}/{about}").choice(FACTS[about])
        return Ask(Kind.RECOLLECTION, fact=about), replace(expected, fact=Statement(about, value))
    slot = slot or random.Random(f"{key}/slot").choice(SLOTS)
    item, count = expected.items[0], len(expected.items)
    topic, aspect = item.topic or "bread", item.aspect or "cost"
    if slot == "topic":
        topic = _moved(sorted((topic, *neighbours(topic))), topic, f"{key}/topic")
    elif slot == "aspect" or expected.kind is Kind.FOLLOW_UP:
        aspect = _moved(ASPECTS, aspect, f"{key}/aspect")
    else:
        count = _moved(COUNTS, count, f"{key}/count")
    return Ask(Kind.NEW, topic, aspect, count), replace(expected, items=(Item(topic, aspect),) * count)


def _of_another(expected: Expectation, key: str) -> Expectation:
    """Put another user's wishes and facts in the place of this one's."""
    standing = {kind: _moved(STANDING[kind], wish, f"{key}/{kind}") for kind, wish in expected.standing.items()}
    fact = expected.fact
    if fact is not None and isinstance(fact.about, Fact):
        fact = replace(fact, value=_moved(FACTS[fact.about], fact.value, f"{key}/{fact.about}"))
    return replace(expected, standing=standing, fact=fact)


def _moved(values: Sequence[T], value: T, key: str) -> T:
    """Move to another value, by the step that a key draws: different values stay different."""
    step = random.Random(key).randrange(1, len(values))
    return values[(values.index(value) + step) % len(values)]


def _key(conversation: Conversation) -> str:
    """Return what a conversation's own draws are named by."""
    return next(message.content for message in conversation.messages if message.role == "user")


def _written(said: Reply, seed: object) -> str:
    """Write a reply in the words that the plain reply to the same request has."""
    return write_reply(said, players.stream(seed, "words"))
