"""What a reply must do, given the messages before it: ellipsis resolved, standing wishes and facts carried over."""

from dataclasses import dataclass, field, replace

from music.conversation import Conversation
from music.sandbox.world.language import read_reply, read_user
from music.sandbox.world.vocabulary import Ask, AskKind, Fact, Standing, Statement, Tip, UserAct

__all__ = ["Expectation", "State", "expectations", "state_after"]


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the reply to one user message should contain.

    Attributes:
        kind: The kind of the request.
        tips: The requested tips, all equal; empty if a fact is requested.
        fact: The requested fact, with the value that the user stated.
        standing: The standing wishes in force, by kind.
        ages: For each of these wishes, how many turns ago it was stated.
    """

    kind: AskKind
    tips: tuple[Tip, ...]
    fact: Statement | None
    standing: dict[Standing, str]
    ages: dict[Standing, int]


@dataclass(frozen=True, slots=True)
class State:
    """The state after some turns: the current request, and everything that the user stated."""

    topic: str | None = None
    aspect: str | None = None
    count: int = 1
    standing: dict[Standing, str] = field(default_factory=dict)
    stated_at: dict[Standing, int] = field(default_factory=dict)
    facts: dict[Fact, str] = field(default_factory=dict)
    num_turns: int = 0
    last_kind: AskKind | None = None


def expectations(conversation: Conversation) -> tuple[Expectation | None, ...]:
    """Return what is expected of the reply to each user message; None for a message that is not of this world."""
    return _walk(conversation)[1]


def state_after(conversation: Conversation) -> State:
    """Return the state after all user messages of a conversation."""
    return _walk(conversation)[0]


def _walk(conversation: Conversation) -> tuple[State, tuple[Expectation | None, ...]]:
    """Return the last state, and the expectations of all user messages."""
    state, expected, last_reply = State(), list[Expectation | None](), ""
    for message in conversation.messages:
        if message.role == "assistant":
            last_reply = message.content
        elif message.role == "user":
            act = read_user(message.content)
            if act is not None:
                state = _updated(state, act)
            expected.append(_expectation(state, act.ask, last_reply) if act else None)
            state = replace(state, num_turns=state.num_turns + 1)
    return state, tuple(expected)


def _updated(state: State, act: UserAct) -> State:
    """Return the state after a user message's request and statements."""
    standing, stated_at, facts = dict(state.standing), dict(state.stated_at), dict(state.facts)
    for statement in act.statements:
        if isinstance(statement.about, Standing):
            standing[statement.about], stated_at[statement.about] = statement.value, state.num_turns
        else:
            facts[statement.about] = statement.value
    return State(
        topic=act.ask.topic or state.topic,
        aspect=act.ask.aspect or state.aspect,
        count=act.ask.count or state.count,
        standing=standing,
        stated_at=stated_at,
        facts=facts,
        num_turns=state.num_turns,
        last_kind=act.ask.kind,
    )


def _expectation(state: State, ask: Ask, last_reply: str) -> Expectation | None:
    """Resolve one request; None if it refers to something that was never said."""
    ages = {kind: state.num_turns - turn for kind, turn in state.stated_at.items()}
    tips: tuple[Tip, ...] = ()
    fact = None
    if ask.kind is AskKind.RECOLLECTION:
        if ask.fact is None or ask.fact not in state.facts:
            return None
        fact = Statement(ask.fact, state.facts[ask.fact])
    elif ask.kind is AskKind.FOLLOW_UP:
        tips = read_reply(last_reply).tips[-1:]
    elif state.topic and state.aspect:
        tips = (Tip(state.topic, state.aspect),) * state.count
    if not tips and fact is None:
        return None
    return Expectation(ask.kind, tips, fact, state.standing, ages)
