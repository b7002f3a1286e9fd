"""What a reply must do, given the messages before it: ellipsis resolved, standing wishes and facts carried over."""

from dataclasses import dataclass, field, replace

from music.conversation import Conversation
from music.sandbox.world.language import read_reply, read_user
from music.sandbox.world.vocabulary import Ask, AskKind, Fact, MemoryAsk, Reply, Standing, Statement, Tip, UserAct

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
        steps: All steps of the plan, if the request is for one of them.
        wrong: If the user points out an error, the reply with it; the other attributes are those of the request that
            this reply answered.
        error: The kind of the error that the user points out; None if the user does not name it.
    """

    kind: AskKind | MemoryAsk
    tips: tuple[Tip, ...]
    fact: Statement | None
    standing: dict[Standing, str]
    ages: dict[Standing, int]
    steps: tuple[str, ...] = ()
    wrong: Reply | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class State:
    """The state after some turns: the current request, and everything that the user stated.

    Attributes:
        topic: Of the current request.
        aspect: Of the current request.
        count: Of the current request.
        standing: The standing wishes.
        stated_at: The turn in which each wish and each fact was stated.
        facts: The facts.
        num_turns: Number of user messages.
        last_kind: Kind of the last request.
        plan: The last plan.
        num_steps: How many of its steps were requested.
    """

    topic: str | None = None
    aspect: str | None = None
    count: int = 1
    standing: dict[Standing, str] = field(default_factory=dict)
    stated_at: dict[Standing | Fact, int] = field(default_factory=dict)
    facts: dict[Fact, str] = field(default_factory=dict)
    num_turns: int = 0
    last_kind: AskKind | MemoryAsk | None = None
    plan: Ask | None = None
    num_steps: int = 0

    @property
    def next_step(self) -> str | None:
        """The aspect of the next step; None without a plan or after its last step."""
        steps = self.plan.steps if self.plan else ()
        return steps[self.num_steps] if self.num_steps < len(steps) else None


def expectations(conversation: Conversation) -> tuple[Expectation | None, ...]:
    """Return what is expected of the reply to each user message; None for a message that is not of this world."""
    return _walk(conversation)[1]


def state_after(conversation: Conversation) -> State:
    """Return the state after all user messages of a conversation."""
    return _walk(conversation)[0]


def _walk(conversation: Conversation) -> tuple[State, tuple[Expectation | None, ...]]:
    """Return the last state, and the expectations of all user messages."""
    state, expected, replies = State(), list[Expectation | None](), list[str]()
    for message in conversation.messages:
        if message.role == "assistant":
            replies.append(message.content)
        elif message.role == "user":
            act = read_user(message.content)
            if act is not None:
                ask = _resolved(state, act.ask)
                state = _updated(state, UserAct(ask, act.statements))
                previous = expected[-1] if expected else None
                expected.append(_expectation(state, ask, replies, previous))
            else:
                expected.append(None)
            state = replace(state, num_turns=state.num_turns + 1)
    return state, tuple(expected)


def _resolved(state: State, ask: Ask) -> Ask:
    """Fill in what a plan says about the request for one of its steps."""
    if ask.kind is MemoryAsk.PLAN:
        return replace(ask, aspect=ask.steps[0], count=1)
    if ask.kind is MemoryAsk.STEP and state.plan:
        return replace(ask, topic=state.plan.topic, aspect=state.next_step, steps=state.plan.steps)
    return ask


def _updated(state: State, act: UserAct) -> State:
    """Return the state after a user message's request and statements."""
    standing, stated_at, facts, ask = dict(state.standing), dict(state.stated_at), dict(state.facts), act.ask
    for statement in act.statements:
        stated_at[statement.about] = state.num_turns
        if isinstance(statement.about, Standing):
            standing[statement.about] = statement.value
        else:
            facts[statement.about] = statement.value
    is_plan = ask.kind is MemoryAsk.PLAN
    return State(
        topic=ask.topic or state.topic,
        aspect=ask.aspect or state.aspect,
        count=ask.count or state.count,
        standing=standing,
        stated_at=stated_at,
        facts=facts,
        num_turns=state.num_turns,
        last_kind=state.last_kind if ask.kind is MemoryAsk.CORRECTION else ask.kind,
        plan=ask if is_plan else state.plan,
        num_steps=1 if is_plan else state.num_steps + (ask.kind is MemoryAsk.STEP and ask.aspect is not None),
    )


def _expectation(state: State, ask: Ask, replies: list[str], previous: Expectation | None) -> Expectation | None:
    """Resolve one request; None if it refers to something that was never said."""
    ages = {kind: state.num_turns - state.stated_at[kind] for kind in state.standing}
    if ask.kind is MemoryAsk.CORRECTION:
        if previous is None or not replies:
            return None
        return replace(previous, standing=state.standing, ages=ages, wrong=read_reply(replies[-1]), error=ask.error)
    tips: tuple[Tip, ...] = ()
    fact = None
    if ask.kind is AskKind.RECOLLECTION:
        if ask.fact is None or ask.fact not in state.facts:
            return None
        fact = Statement(ask.fact, state.facts[ask.fact])
    elif ask.kind is AskKind.FOLLOW_UP:
        tips = read_reply(replies[-1]).tips[-1:] if replies else ()
    elif ask.kind is MemoryAsk.QUOTE:
        tips = _quoted(replies, ask)
    elif state.topic and state.aspect and (ask.aspect or ask.kind is not MemoryAsk.STEP):
        tips = (Tip(state.topic, state.aspect),) * state.count
    if not tips and fact is None:
        return None
    return Expectation(ask.kind, tips, fact, state.standing, ages, ask.steps)


def _quoted(replies: list[str], ask: Ask) -> tuple[Tip, ...]:
    """Return the first tip of the reply that the user asks about."""
    said = replies[ask.turn - 1] if ask.turn and ask.turn <= len(replies) else ""
    return tuple(tip for tip in read_reply(said).tips[:1] if tip.topic and tip.aspect)
