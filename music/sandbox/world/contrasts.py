"""Contrasts: modified instructions for the rejected side of a simulation, and guesses of an assistant without history.

A contrast changes one slot (topic, aspect or count) in a whole conversation, and moves each value by the same step
around the ring of values. So the rejected replies agree with each other as the chosen ones do, and counting changes of
subject without reading the user reveals little. All draws for a conversation depend on its first user message.
`contrast_turn` draws for each turn instead.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from music.conversation import Conversation
from music.sandbox.world.language import read_reply, read_user, write_reply, write_user
from music.sandbox.world.players import draft, other_value, stream, violated
from music.sandbox.world.state import Expectation, expectations, state_after
from music.sandbox.world.vocabulary import (
    ASPECTS,
    COUNTS,
    FACTS,
    STANDING,
    TOPICS,
    Ask,
    AskKind,
    Fact,
    MemoryAsk,
    Reply,
    Standing,
    Statement,
    Tip,
    UserAct,
    neighbours,
)

__all__ = ["contrast", "contrast_turn", "drop_constraint", "guess", "persona_swap", "rewrite"]

_Contrast = Callable[[Conversation, object, float], tuple[str, str] | None]
"""Maps a conversation that ends with the user, a seed and carelessness to a modified instruction and its answer."""
T = TypeVar("T")
SLOTS = ("topic", "aspect", "count")
ONE_TIP = frozenset((AskKind.FOLLOW_UP, MemoryAsk.QUOTE))
"""The requests that one tip answers, of any number of tips before."""


def contrast(conversation: Conversation, seed: object, carelessness: float) -> tuple[str, str] | None:
    """Change the conversation's slot of the request; return the modified instruction and the answer to it."""
    expected = _expected(conversation, seed)
    if expected is None:
        return None
    ask, modified = _modified(expected, _key(conversation))
    said = draft(modified, seed, carelessness)
    return write_user(UserAct(ask), stream(seed, "instruction")), _written(said, seed)


def rewrite(conversation: Conversation, seed: object) -> str | None:
    """Change the conversation's slot of the request, and keep the user's statements."""
    expected, act = _expected(conversation, seed), read_user(conversation.messages[-1].content)
    if expected is None or act is None:
        return None
    ask, _ = _modified(expected, _key(conversation))
    return write_user(UserAct(ask, act.statements), stream(seed, "instruction"))


def contrast_turn(conversation: Conversation, seed: object, carelessness: float) -> tuple[str, str] | None:
    """Change one slot of the request, drawn for this turn alone (paper, Algorithm 1); return the same as `contrast`."""
    expected = expectations(conversation)[-1]
    if expected is None:
        return None
    ask, modified = _modified_turn(expected, stream(seed, "contrast"))
    return write_user(UserAct(ask), stream(seed, "instruction")), _written(draft(modified, seed, carelessness), seed)


def drop_constraint(
    conversation: Conversation, seed: object, carelessness: float, otherwise: _Contrast = contrast
) -> tuple[str, str] | None:
    """Answer the right request but break standing wishes; if none was stated, use `otherwise`."""
    expected = expectations(conversation)[-1]
    if expected is None or not expected.standing:
        return otherwise(conversation, seed, carelessness)
    rng = stream(seed, "contrast")
    kinds = sorted(expected.standing)
    dropped = [kind for kind in kinds if rng.random() < 0.7] or [rng.choice(kinds)]
    plain = replace(expected, standing={k: v for k, v in expected.standing.items() if k not in dropped})
    said = draft(plain, seed, carelessness)
    for kind in dropped:
        said = violated(said, kind, expected.standing[kind], rng)
    act = read_user(conversation.messages[-1].content)
    instruction = write_user(UserAct(act.ask) if act else UserAct(Ask(AskKind.NEW)), stream(seed, "instruction"))
    return f"{instruction} (Dropped: {', '.join(dropped)}.)", _written(said, seed)


def persona_swap(conversation: Conversation, seed: object, carelessness: float) -> tuple[str, str] | None:
    """Answer a user with other wishes and facts, or with another goal if neither affects the reply."""
    expected, act = _expected(conversation, seed), read_user(conversation.messages[-1].content)
    if expected is None or act is None:
        return None
    other, ask = _of_another(expected, _key(conversation)), act.ask
    if not (other.standing or other.fact):
        ask, other = _modified(expected, _key(conversation), "aspect")
    said = draft(other, seed, carelessness)
    if said.resources and (wish := expected.standing.get(Standing.AVOID)):
        said = replace(said, resources=(wish,))  # replaces another one, so that length reveals nothing
    held = [Statement(kind, wish) for kind, wish in other.standing.items()] + ([other.fact] if other.fact else [])
    return write_user(UserAct(ask, tuple(held)), stream(seed, "instruction")), _written(said, seed)


def guess(conversation: Conversation, seed: object, carelessness: float) -> str | None:
    """Answer a request without its history, by guesses; None if it is not of this world."""
    expected = _expected(conversation, seed)
    return None if expected is None else _written(draft(expected, seed, carelessness), seed)


def _expected(conversation: Conversation, seed: object) -> Expectation | None:
    """Return what is expected of the last reply; missing parts come from an earlier reply or are guessed."""
    act, state = read_user(conversation.messages[-1].content), state_after(conversation)
    known = expectations(conversation)[-1]
    if known is not None or act is None:
        return known
    rng = stream(seed, "guess")
    ages = {kind: state.num_turns - 1 - state.stated_at[kind] for kind in state.standing}
    if act.ask.fact is not None:
        fact = Statement(act.ask.fact, rng.choice(FACTS[act.ask.fact]))
        return Expectation(act.ask.kind, (), fact, state.standing, ages)
    replies = (read_reply(m.content).tips for m in reversed(conversation.messages) if m.role == "assistant")
    guessed = next(filter(None, replies), ()) or (Tip(rng.choice(TOPICS), rng.choice(ASPECTS)),) * rng.choice(
        tuple(COUNTS)
    )
    tip = Tip(state.topic or guessed[0].topic, state.aspect or guessed[0].aspect)
    count = 1 if act.ask.kind in ONE_TIP else act.ask.count or len(guessed)
    return Expectation(act.ask.kind, (tip,) * count, None, state.standing, ages)


def _modified(expected: Expectation, key: str, slot: str = "") -> tuple[Ask, Expectation]:
    """Change one slot of a request, by default the conversation's; return the new request and expectation."""
    if expected.fact is not None and isinstance(expected.fact.about, Fact):
        about = _moved(tuple(Fact), expected.fact.about, f"{key}/fact")
        value = random.Random(f"{key}/{about}").choice(FACTS[about])
        return Ask(AskKind.RECOLLECTION, fact=about), replace(expected, fact=Statement(about, value))
    slot = slot or random.Random(f"{key}/slot").choice(SLOTS)
    tip, count = expected.tips[0], len(expected.tips)
    topic, aspect = tip.topic or "bread", tip.aspect or "cost"
    if slot == "topic":
        topic = _moved(sorted((topic, *neighbours(topic))), topic, f"{key}/topic")
    elif slot == "aspect" or expected.kind in ONE_TIP:
        aspect = _moved(ASPECTS, aspect, f"{key}/aspect")
    else:
        count = _moved(tuple(COUNTS), count, f"{key}/count")
    return Ask(AskKind.NEW, topic, aspect, count), replace(expected, tips=(Tip(topic, aspect),) * count)


def _modified_turn(expected: Expectation, rng: random.Random) -> tuple[Ask, Expectation]:
    """Change one slot of a request, drawn by `rng`, to a neighbour; return the same as `_modified`."""
    if expected.fact is not None and isinstance(expected.fact.about, Fact):
        about = rng.choice([fact for fact in Fact if fact is not expected.fact.about])
        return Ask(AskKind.RECOLLECTION, fact=about), replace(expected, fact=Statement(about, rng.choice(FACTS[about])))
    tip, count = expected.tips[0], len(expected.tips)
    topic, aspect = tip.topic or "bread", tip.aspect or "cost"
    slot = rng.choice(("aspect",) if expected.kind in ONE_TIP else SLOTS)
    if slot == "topic":
        topic = rng.choice(neighbours(topic))
    elif slot == "aspect":
        aspect = other_value(ASPECTS, aspect, rng)
    else:
        count = rng.choice([n for n in COUNTS if n != count])
    return Ask(AskKind.NEW, topic, aspect, count), replace(expected, tips=(Tip(topic, aspect),) * count)


def _of_another(expected: Expectation, key: str) -> Expectation:
    """Replace the user's wishes and facts by those of another user."""
    standing = {kind: _moved(STANDING[kind], wish, f"{key}/{kind}") for kind, wish in expected.standing.items()}
    fact = expected.fact
    if fact is not None and isinstance(fact.about, Fact):
        fact = replace(fact, value=_moved(FACTS[fact.about], fact.value, f"{key}/{fact.about}"))
    return replace(expected, standing=standing, fact=fact)


def _moved(values: Sequence[T], value: T, key: str) -> T:
    """Return another value, by a step that depends on a key: different values stay different."""
    step = random.Random(key).randrange(1, len(values))
    return values[(values.index(value) + step) % len(values)]


def _key(conversation: Conversation) -> str:
    """Return the key of a conversation's draws."""
    return next(message.content for message in conversation.messages if message.role == "user")


def _written(said: Reply, seed: object) -> str:
    """Write a reply with the same words as the plain reply to the same request."""
    return write_reply(said, stream(seed, "words"))
