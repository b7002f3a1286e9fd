"""The user and the assistant of the sandbox's world: functions from a conversation to a text, without state.

All draws come from streams that are named by the request's seed and by the kind of draw. So the two sides of a pair,
which get the same seed, share their random errors: a contrasted reply differs only by its contrast.
"""

import random
from collections.abc import Sequence
from dataclasses import replace

from music.conversation import Conversation
from music.sandbox.world.language import read_statements, write_reply, write_statement, write_user
from music.sandbox.world.memory import memory_ask
from music.sandbox.world.phrases import GREETINGS
from music.sandbox.world.state import Expectation, State, expectations, state_after
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

__all__ = ["CarelessRates", "UserTraits", "converse", "draft", "draw_persona", "next_user_act", "other_fact"]
__all__ += ["other_value", "persona_sentences", "repeated", "reply", "stream", "user_turn", "violated"]

KIND_WEIGHTS: dict[AskKind, float] = {
    AskKind.NEW: 0.15,
    AskKind.EXPANSION: 0.25,
    AskKind.SWAP: 0.15,
    AskKind.REFINEMENT: 0.12,
    AskKind.FOLLOW_UP: 0.15,
    AskKind.RECOLLECTION: 0.18,
}
STATE_FIRST = {Standing: 0.45, Fact: 0.32}
STATE_LATER = {Standing: 0.12, Fact: 0.08}
STATE_FIRST_WITH_MEMORY = {Standing: 0.6, Fact: 0.6}
"""Users with memory state more at once, so that it is due later."""


class CarelessRates:
    """Error rates per turn of an assistant with carelessness 1; forgetting grows with the age of a wish."""

    TOPIC = 0.15
    ASPECT = 0.15
    COUNT = 0.15
    RECOLLECTION = 0.30
    FOLLOW_UP = 0.30
    FORGET = 0.25
    FORGET_FRESH = 0.6
    FORGET_GROWTH = 0.15
    SUGGEST = 0.4
    CONTRADICTION = 0.30
    CORRECTION = 0.35
    STEP = 0.25


UserTraits = dict[Standing | Fact, str]
"""A user's value for every standing wish and every fact, whether stated or not."""


def stream(seed: object, name: str) -> random.Random:
    """Return the random stream of one kind of draw."""
    return random.Random(f"{seed}/{name}")


def user_turn(conversation: Conversation, seed: object, persona: str = "", *, memory: bool = False) -> str:
    """Write the next user message.

    Args:
        conversation: The history.
        seed: Names the random streams.
        persona: A description of the user. Facts and wishes in sentences of this world are used; all others depend on
            the conversation's first message.
        memory: Whether the user has memory: also points out errors, pursues plans, and asks what was said.
    """
    rng = stream(seed, "user")
    first = next((m.content for m in conversation.messages if m.role == "user"), str(seed))
    held = {**draw_persona(stream(first, "persona")), **read_statements(persona)}
    opening = rng.choice(GREETINGS) if not conversation.messages and rng.random() < 0.3 else ""
    act = next_user_act(state_after(conversation), held, rng, memory=memory)
    asked = memory_ask(conversation, stream(seed, "memory")) if memory else None
    return write_user(replace(act, ask=asked) if asked else act, rng, opening)


def reply(conversation: Conversation, seed: object, carelessness: float) -> str | None:
    """Answer the last user message with natural errors; None if it is not of this world.

    Args:
        conversation: A conversation that ends with the user.
        seed: Names the random streams.
        carelessness: Multiplies the error rates; 0 never errs, 1 errs at `CarelessRates`.
    """
    expected = expectations(conversation)[-1]
    return None if expected is None else write_reply(draft(expected, seed, carelessness), stream(seed, "words"))


def converse(num_turns: int, seed: object, carelessness: float, *, memory: bool = False) -> Conversation:
    """Return a conversation of user and assistant with some turns."""
    conversation = Conversation()
    for turn in range(num_turns):
        conversation = conversation.user(user_turn(conversation, f"{seed}/{turn}", memory=memory))
        conversation = conversation.assistant(reply(conversation, f"{seed}/{turn}", carelessness) or "Certainly.")
    return conversation


def draw_persona(rng: random.Random) -> UserTraits:
    """Draw a user's wishes and facts."""
    persona: UserTraits = {wish: rng.choice(values) for wish, values in STANDING.items()}
    return persona | {fact: rng.choice(values) for fact, values in FACTS.items()}


def persona_sentences(conversation: Conversation, seed: object) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Draw a user with the facts and wishes that a conversation states; return facts and wishes as sentences."""
    rng = stream(seed, "persona")
    stated = state_after(conversation)
    held = draw_persona(rng) | stated.standing | stated.facts
    said = [(about, write_statement(about, value, rng)) for about, value in held.items()]
    return (
        tuple(text for about, text in said if isinstance(about, Fact)),
        tuple(text for about, text in said if isinstance(about, Standing)),
    )


def next_user_act(state: State, persona: UserTraits, rng: random.Random, *, memory: bool = False) -> UserAct:
    """Draw the next request, and the wishes and facts stated with it."""
    said: set[Standing | Fact] = {*state.standing, *state.facts}
    rates = STATE_LATER if state.num_turns else STATE_FIRST_WITH_MEMORY if memory else STATE_FIRST
    statements = tuple(
        Statement(about, value)
        for about, value in persona.items()
        if rng.random() < rates[type(about)] and about not in said
    )
    return UserAct(_next_ask(state, rng), statements)


def _next_ask(state: State, rng: random.Random) -> Ask:
    """Draw a request that the history allows."""
    if not (state.topic and state.aspect):
        return Ask(AskKind.NEW, rng.choice(TOPICS), rng.choice(ASPECTS), rng.randint(1, 3))
    ruled_out = {AskKind.FOLLOW_UP} if state.last_kind is AskKind.RECOLLECTION else set[AskKind]()
    ruled_out |= set() if state.facts else {AskKind.RECOLLECTION}
    weights = {kind: weight for kind, weight in KIND_WEIGHTS.items() if kind not in ruled_out}
    kind = rng.choices(list(weights), list(weights.values()))[0]
    if kind is AskKind.NEW:
        return Ask(kind, other_value(TOPICS, state.topic, rng), rng.choice(ASPECTS), rng.randint(1, 3))
    if kind is AskKind.EXPANSION:
        return Ask(kind, aspect=other_value(ASPECTS, state.aspect, rng))
    if kind is AskKind.SWAP:
        return Ask(kind, topic=rng.choice(neighbours(state.topic)))
    if kind is AskKind.REFINEMENT:
        return Ask(kind, count=rng.choice([n for n in COUNTS if n != state.count]))
    return Ask(kind, fact=rng.choice(sorted(state.facts))) if kind is AskKind.RECOLLECTION else Ask(kind)


def draft(expected: Expectation, seed: object, carelessness: float) -> Reply:
    """Decide the content of a reply, with natural errors."""
    tips, fact = _content(expected, stream(seed, "content"), carelessness)
    rng = stream(seed, "standing")
    rates, said = CarelessRates, Reply(tips, fact, quotes=expected.kind is MemoryAsk.QUOTE)
    suggest, suggested = rng.random() < rates.SUGGEST, rng.choice(STANDING[Standing.AVOID])
    if suggest and suggested != expected.standing.get(Standing.AVOID):
        said = replace(said, resources=(suggested,))
    for kind in Standing:
        forget, style = rng.random(), random.Random(rng.random())
        if kind not in expected.standing:
            continue
        age = expected.ages[kind]
        rate = rates.FORGET * (1 + rates.FORGET_GROWTH * (age - 1) if age else rates.FORGET_FRESH)
        wish = expected.standing[kind]
        said = violated(said, kind, wish, style) if forget < rate * carelessness else _honoured(said, kind, wish)
    if expected.wrong is not None and stream(seed, "correction").random() < rates.CORRECTION * carelessness:
        return repeated(expected, said)
    return said


def _content(
    expected: Expectation, rng: random.Random, carelessness: float
) -> tuple[tuple[Tip, ...], Statement | None]:
    """Decide the tips or the fact of a reply."""
    rates = CarelessRates
    draws = [rng.random() / carelessness if carelessness else 1.0 for _ in range(3)]
    if expected.fact is not None:
        return (), other_fact(expected.fact, rng) if draws[0] < rates.RECOLLECTION else expected.fact
    tip, count = expected.tips[0], len(expected.tips)
    topic, aspect = tip.topic or "bread", tip.aspect or "cost"
    if expected.kind is AskKind.FOLLOW_UP:
        return (Tip(topic, other_value(ASPECTS, aspect, rng) if draws[0] < rates.FOLLOW_UP else aspect),), None
    if expected.kind is MemoryAsk.QUOTE:
        return (Tip(topic, other_value(ASPECTS, aspect, rng) if draws[0] < rates.CONTRADICTION else aspect),), None
    is_step = isinstance(expected.kind, MemoryAsk)
    wrong = (
        rng.choice(neighbours(topic)),
        other_value(expected.steps if is_step else ASPECTS, aspect, rng),
        rng.choice([n for n in COUNTS if n != count]),
    )
    topic = wrong[0] if draws[0] < rates.TOPIC and not is_step else topic
    aspect = wrong[1] if draws[1] < (rates.STEP if is_step else rates.ASPECT) else aspect
    return (Tip(topic, aspect),) * (wrong[2] if draws[2] < rates.COUNT else count), None


def _honoured(said: Reply, kind: Standing, wish: str) -> Reply:
    """Follow one standing wish."""
    if kind is Standing.ADDRESS:
        return replace(said, name=wish)
    return replace(said, ending=wish) if kind is Standing.END else said


def violated(said: Reply, kind: Standing, wish: str, rng: random.Random) -> Reply:
    """Break one standing wish: leave it out, or use another value."""
    if kind is Standing.AVOID:
        return replace(said, resources=(wish,))
    other = rng.choice([None, rng.choice([value for value in STANDING[kind] if value != wish])])
    return replace(said, name=other) if kind is Standing.ADDRESS else replace(said, ending=other)


def other_value(values: Sequence[str], value: str, rng: random.Random) -> str:
    """Choose another value of a slot."""
    return rng.choice([other for other in values if other != value])


def other_fact(fact: Statement, rng: random.Random) -> Statement:
    """Choose another value of the same fact."""
    assert isinstance(fact.about, Fact)
    return replace(fact, value=rng.choice([value for value in FACTS[fact.about] if value != fact.value]))


def repeated(expected: Expectation, said: Reply) -> Reply:
    """Repeat what the user points out as wrong; a sentence that names no topic or no aspect is left out."""
    wrong = expected.wrong or said
    tips = tuple(tip for tip in wrong.tips if tip.topic and tip.aspect)[: max(COUNTS)]
    resources = wrong.resources if expected.error in (None, Standing.AVOID) else said.resources
    return replace(wrong, tips=tips, resources=resources, quotes=said.quotes)
