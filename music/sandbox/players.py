"""The parts that the sandbox plays: user, assistant and contrast. Conversation in, text out; nothing is remembered.

All draws come from streams named by the request's seed and by what is drawn, so that two sides of a pair that get the
same seed share their accidents: a contrasted reply differs by its contrast and by nothing else.
"""

import random
from collections.abc import Sequence
from dataclasses import replace

from music.conversation import Conversation
from music.sandbox.acts import Ask, Item, Kind, Reply, Statement, UserAct
from music.sandbox.language import read_statements, read_user, write_reply, write_user
from music.sandbox.phrases import GREETINGS
from music.sandbox.state import Expectation, State, expectations, state_after
from music.sandbox.world import ASPECTS, FACTS, STANDING, TOPICS, Fact, Standing, neighbours

__all__ = ["CarelessRates", "Persona", "contrast", "drop_constraint", "next_user_act", "other_fact", "reply"]
__all__ += ["user_turn"]

KIND_WEIGHTS: dict[Kind, float] = {
    Kind.NEW: 0.15,
    Kind.EXPANSION: 0.25,
    Kind.SWAP: 0.15,
    Kind.REFINEMENT: 0.12,
    Kind.FOLLOW_UP: 0.15,
    Kind.RECOLLECTION: 0.18,
}
STATE_FIRST = {Standing: 0.45, Fact: 0.32}
STATE_LATER = {Standing: 0.12, Fact: 0.08}


class CarelessRates:
    """How often an assistant of skill 1.0 errs, per turn; forgetting grows with the age of a wish."""

    TOPIC = 0.15
    ASPECT = 0.15
    COUNT = 0.15
    RECOLLECTION = 0.30
    FOLLOW_UP = 0.30
    FORGET = 0.25
    FORGET_FRESH = 0.6
    FORGET_GROWTH = 0.15
    SUGGEST = 0.4


Persona = dict[Standing | Fact, str]
"""What a user holds: a value for every standing wish and every fact, stated or not."""


def stream(seed: object, name: str) -> random.Random:
    """Return the random stream of one kind of draw."""
    return random.Random(f"{seed}/{name}")


def user_turn(conversation: Conversation, seed: object, persona: str = "") -> str:
    """Write the next user message.

    Args:
        conversation: The history.
        seed: Names the random streams.
        persona: Who the user is, in words: facts and wishes in sentences of this world hold. All others belong to the
            conversation: they follow from its first message.
    """
    rng = stream(seed, "user")
    first = next((m.content for m in conversation.messages if m.role == "user"), str(seed))
    held = {**draw_persona(stream(first, "persona")), **read_statements(persona)}
    opening = rng.choice(GREETINGS) if not conversation.messages and rng.random() < 0.3 else ""
    return write_user(next_user_act(state_after(conversation), held, rng), rng, opening)


def reply(conversation: Conversation, seed: object, carelessness: float) -> str | None:
    """Answer the last user message with natural errors; None if it is not of this world.

    Args:
        conversation: Ends with the user.
        seed: Names the random streams.
        carelessness: Multiplies the error rates; 0 never errs, 1 errs at `CarelessRates`.
    """
    expected = expectations(conversation)[-1]
    return None if expected is None else _answered(expected, seed, carelessness)


def contrast(conversation: Conversation, seed: object, carelessness: float) -> tuple[str, str] | None:
    """Change one slot of the request; return the modified instruction and the answer to it (paper, Algorithm 1)."""
    expected = expectations(conversation)[-1]
    if expected is None:
        return None
    ask, modified = _modified(expected, stream(seed, "contrast"))
    return write_user(UserAct(ask), stream(seed, "instruction")), _answered(modified, seed, carelessness)


def drop_constraint(conversation: Conversation, seed: object, carelessness: float) -> tuple[str, str] | None:
    """Answer the right request against the standing wishes; the instruction contrast where none was stated."""
    expected = expectations(conversation)[-1]
    if expected is None or not expected.standing:
        return contrast(conversation, seed, carelessness)
    rng = stream(seed, "contrast")
    kinds = sorted(expected.standing)
    dropped = [kind for kind in kinds if rng.random() < 0.7] or [rng.choice(kinds)]
    plain = replace(expected, standing={k: v for k, v in expected.standing.items() if k not in dropped})
    said = draft(plain, seed, carelessness)
    for kind in dropped:
        said = violated(said, kind, expected.standing[kind], rng)
    act = read_user(conversation.messages[-1].content)
    instruction = write_user(UserAct(act.ask) if act else UserAct(Ask(Kind.NEW)), stream(seed, "instruction"))
    return f"{instruction} (Dropped: {', '.join(dropped)}.)", write_reply(said, stream(seed, "words"))


def draw_persona(rng: random.Random) -> Persona:
    """Draw what a user holds."""
    persona: Persona = {wish: rng.choice(values) for wish, values in STANDING.items()}
    return persona | {fact: rng.choice(values) for fact, values in FACTS.items()}


def next_user_act(state: State, persona: Persona, rng: random.Random) -> UserAct:
    """Draw the next request, and the wishes and facts stated with it."""
    said: set[Standing | Fact] = {*state.standing, *state.facts}
    rates = STATE_LATER if state.num_turns else STATE_FIRST
    statements = tuple(
        Statement(about, value)
        for about, value in persona.items()
        if rng.random() < rates[type(about)] and about not in said
    )
    return UserAct(_next_ask(state, rng), statements)


def _next_ask(state: State, rng: random.Random) -> Ask:
    """Draw a request that the history allows."""
    if not (state.topic and state.aspect):
        return Ask(Kind.NEW, rng.choice(TOPICS), rng.choice(ASPECTS), rng.randint(1, 3))
    ruled_out = {Kind.FOLLOW_UP} if state.last_kind is Kind.RECOLLECTION else set[Kind]()
    ruled_out |= set() if state.facts else {Kind.RECOLLECTION}
    weights = {kind: weight for kind, weight in KIND_WEIGHTS.items() if kind not in ruled_out}
    kind = rng.choices(list(weights), list(weights.values()))[0]
    if kind is Kind.NEW:
        return Ask(kind, _other(TOPICS, state.topic, rng), rng.choice(ASPECTS), rng.randint(1, 3))
    if kind is Kind.EXPANSION:
        return Ask(kind, aspect=_other(ASPECTS, state.aspect, rng))
    if kind is Kind.SWAP:
        return Ask(kind, topic=rng.choice(neighbours(state.topic)))
    if kind is Kind.REFINEMENT:
        return Ask(kind, count=rng.choice([n for n in (1, 2, 3) if n != state.count]))
    return Ask(kind, fact=rng.choice(sorted(state.facts))) if kind is Kind.RECOLLECTION else Ask(kind)


def _answered(expected: Expectation, seed: object, carelessness: float) -> str:
    """Write a reply with natural errors."""
    return write_reply(draft(expected, seed, carelessness), stream(seed, "words"))


def draft(expected: Expectation, seed: object, carelessness: float) -> Reply:
    """Decide what a reply says, natural errors included."""
    items, fact = _content(expected, stream(seed, "content"), carelessness)
    rng = stream(seed, "standing")
    rates, said = CarelessRates, Reply(items, fact)
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
    return said


def _content(
    expected: Expectation, rng: random.Random, carelessness: float
) -> tuple[tuple[Item, ...], Statement | None]:
    """Decide the tips or the fact of a reply."""
    rates = CarelessRates
    draws = [rng.random() / carelessness if carelessness else 1.0 for _ in range(3)]
    if expected.fact is not None:
        return (), other_fact(expected.fact, rng) if draws[0] < rates.RECOLLECTION else expected.fact
    item, count = expected.items[0], len(expected.items)
    topic, aspect = item.topic or "bread", item.aspect or "cost"
    if expected.kind is Kind.FOLLOW_UP:
        return (Item(topic, _other(ASPECTS, aspect, rng) if draws[0] < rates.FOLLOW_UP else aspect),), None
    wrong = (
        rng.choice(neighbours(topic)),
        _other(ASPECTS, aspect, rng),
        rng.choice([n for n in (1, 2, 3) if n != count]),
    )
    topic = wrong[0] if draws[0] < rates.TOPIC else topic
    aspect = wrong[1] if draws[1] < rates.ASPECT else aspect
    return (Item(topic, aspect),) * (wrong[2] if draws[2] < rates.COUNT else count), None


def _honoured(said: Reply, kind: Standing, wish: str) -> Reply:
    """Follow one standing wish."""
    if kind is Standing.ADDRESS:
        return replace(said, name=wish)
    return replace(said, ending=wish) if kind is Standing.END else said


def violated(said: Reply, kind: Standing, wish: str, rng: random.Random) -> Reply:
    """Break one standing wish: left out, or with another value."""
    if kind is Standing.AVOID:
        return replace(said, resources=(wish,))
    other = rng.choice([None, rng.choice([value for value in STANDING[kind] if value != wish])])
    return replace(said, name=other) if kind is Standing.ADDRESS else replace(said, ending=other)


def _modified(expected: Expectation, rng: random.Random) -> tuple[Ask, Expectation]:
    """Change one slot of a request to a neighbour; return it as an instruction and as an expectation."""
    if expected.fact is not None and isinstance(expected.fact.about, Fact):
        other = rng.choice([fact for fact in Fact if fact is not expected.fact.about])
        fact = Statement(other, rng.choice(FACTS[other]))
        return Ask(Kind.RECOLLECTION, fact=other), replace(expected, fact=fact)
    item, count = expected.items[0], len(expected.items)
    topic, aspect = item.topic or "bread", item.aspect or "cost"
    slots = ["aspect"] if expected.kind is Kind.FOLLOW_UP else ["topic", "aspect", "count"]
    slot = rng.choice(slots)
    topic = rng.choice(neighbours(topic)) if slot == "topic" else topic
    aspect = _other(ASPECTS, aspect, rng) if slot == "aspect" else aspect
    count = rng.choice([n for n in (1, 2, 3) if n != count]) if slot == "count" else count
    return Ask(Kind.NEW, topic, aspect, count), replace(expected, items=(Item(topic, aspect),) * count)


def _other(values: Sequence[str], value: str, rng: random.Random) -> str:
    """Choose another value of a slot."""
    return rng.choice([other for other in values if other != value])


def other_fact(fact: Statement, rng: random.Random) -> Statement:
    """Choose another value of the same fact."""
    assert isinstance(fact.about, Fact)
    return replace(fact, value=rng.choice([value for value in FACTS[fact.about] if value != fact.value]))
