"""What users with memory ask: for corrections, for the steps of a plan, for what was said before.

`memory_ask` draws such a request, or none. Other users never react to a reply; these do.
"""

import random

from music.conversation import Conversation
from music.sandbox.world.language import read_reply
from music.sandbox.world.oracle import PENALTIES, ErrorKind, grade_turns
from music.sandbox.world.state import State, expectations, state_after
from music.sandbox.world.vocabulary import (
    ASPECTS,
    COUNTS,
    NUM_STEPS,
    TOPICS,
    Ask,
    AskKind,
    MemoryAsk,
)

__all__ = ["memory_ask"]

MIN_AGE = 2
"""A user with memory asks for facts and replies that are at least this many turns old."""


class MemoryRates:
    """Rates per turn of the requests of a user with memory, each where it is possible."""

    CORRECTION = 0.4
    PLAN = 0.4
    STEP = 0.6
    QUOTE = 0.25
    RECOLLECTION = 0.2


def memory_ask(conversation: Conversation, rng: random.Random) -> Ask | None:
    """Draw a request that only a user with memory makes; None if the user asks as others do.

    The user points out the gravest error of the last reply. There is one plan in a conversation.
    """
    rates, state, draws = MemoryRates, state_after(conversation), [rng.random() for _ in range(4)]
    if (error := _last_error(conversation)) and draws[0] < rates.CORRECTION:
        return Ask(MemoryAsk.CORRECTION, error=error)
    if state.next_step and draws[1] < rates.STEP:
        return Ask(MemoryAsk.STEP)
    if state.plan is None and draws[1] < rates.PLAN:
        return _plan(state, rng)
    if (turns := _old_turns(conversation)) and draws[2] < rates.QUOTE:
        return Ask(MemoryAsk.QUOTE, turn=rng.choice(turns))
    facts = sorted(fact for fact in state.facts if state.num_turns - state.stated_at[fact] >= MIN_AGE)
    if facts and draws[3] < rates.RECOLLECTION:
        return Ask(AskKind.RECOLLECTION, fact=rng.choice(facts))
    return None


def _plan(state: State, rng: random.Random) -> Ask:
    """Draw a plan: some aspects of a topic that is not the current one."""
    topic = rng.choice([topic for topic in TOPICS if topic != state.topic])
    return Ask(MemoryAsk.PLAN, topic, steps=tuple(rng.sample(ASPECTS, rng.choice(NUM_STEPS))))


def _last_error(conversation: Conversation) -> str | None:
    """Return the gravest error of the last reply, as the user names it; None if it has none."""
    expected, grades = expectations(conversation), grade_turns(conversation)
    if not grades or grades[-1].turn != len(expected) - 1 or not grades[-1].errors:
        return None
    error = max(grades[-1].errors, key=PENALTIES.__getitem__)
    request = expected[-1]
    assert request is not None, "only these turns are graded"
    return request.error if error is ErrorKind.CORRECTION else error


def _old_turns(conversation: Conversation) -> list[int]:
    """Return the numbers of earlier replies, from 1, that can be asked for."""
    replies = [message.content for message in conversation.messages if message.role == "assistant"]
    old = replies[: max(0, len(replies) - MIN_AGE + 1)][: max(COUNTS)]
    return [number for number, text in enumerate(old, 1) if read_reply(text).tips]
