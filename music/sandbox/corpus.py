"""The world's own text, on which the shipped backbone is pretrained.

Besides plain conversations it holds ones in which the user reacts to a reply ("Wrong hobby, that was."). So a
language model has a reason to notice, at the end of a reply, what is wrong with it: the sense that a small model does
not learn from a few thousand preference pairs. Users in simulations never react, so a reward model cannot read a
reaction off; and a reaction speaks of the reply just given, never of an earlier one.
"""

import random
from collections.abc import Iterator

from music.conversation import Conversation
from music.sandbox import oracle
from music.sandbox.language import write_user
from music.sandbox.phrases import FEEDBACK
from music.sandbox.players import draw_persona, next_user_act, reply, stream
from music.sandbox.state import state_after

__all__ = ["conversations"]

REACTION_SHARE = 0.75
CARELESSNESS = (0.5, 1.5, 2.5)
TURN_WEIGHTS = {1: 0.4, 2: 0.2, 3: 0.15, 4: 0.1, 5: 0.08, 6: 0.07}


def conversations(num: int, seed: int, *, single_turn: bool = False) -> Iterator[Conversation]:
    """Yield conversations of one to six turns, or of one; three in four replies get a reaction."""
    rng = random.Random(f"corpus/{seed}")
    weights = {1: 1.0} if single_turn else TURN_WEIGHTS
    for index in range(num):
        num_turns = rng.choices(list(weights), list(weights.values()))[0]
        yield _talk(num_turns, f"corpus/{seed}/{index}", rng.choice(CARELESSNESS))


def reaction(conversation: Conversation, rng: random.Random) -> str:
    """Say what was wrong with the last reply, or that nothing was."""
    errors = oracle.grade(conversation)[-1].errors
    return " ".join(rng.choice(FEEDBACK[error]) for error in errors or ("",))


def _talk(num_turns: int, tag: str, carelessness: float) -> Conversation:
    """Let user and assistant talk; the user may have the last word."""
    conversation = Conversation()
    persona = draw_persona(stream(tag, "persona"))
    for turn in range(num_turns):
        rng = stream(f"{tag}/{turn}", "user")
        opening = reaction(conversation, rng) if turn and rng.random() < REACTION_SHARE else ""
        act = next_user_act(state_after(conversation), persona, rng)
        conversation = conversation.user(write_user(act, rng, opening))
        conversation = conversation.assistant(reply(conversation, f"{tag}/{turn}", carelessness) or "Certainly.")
    rng = stream(tag, "last")
    return conversation.user(reaction(conversation, rng)) if rng.random() < REACTION_SHARE else conversation
