from collections.abc import Callable, Sequence
from typing import Any

import pytest

from music.conversation import Conversation
from music.pairs import ContrastivePair, TurnContrast, Usage


def _side(seed: Conversation, users: Sequence[str], replies: Sequence[str]) -> Conversation:
    for user, reply in zip(users, replies, strict=True):
        seed = seed.user(user).assistant(reply)
    return seed


def _pair(chosen: Sequence[str], rejected: Sequence[str], index: int = 0, **fields: Any) -> ContrastivePair:
    seed = Conversation().user(f"seed request {fields.get('seed_id', index)}").assistant("I can't help with that.")
    users = fields.pop("users", [f"request {turn} of {index}" for turn in range(len(chosen))])
    contrasted = fields.pop("contrasted", range(len(chosen)))
    contrasts = tuple(TurnContrast(turn=t, strategy="instruction", modified_instruction="other") for t in contrasted)
    defaults = {"seed_id": f"s{index}", "models": {}, "usage": Usage(), "seed": 0}
    return ContrastivePair(
        id=f"music-0-{index:06d}",
        chosen=_side(seed, users, chosen),
        rejected=_side(seed, users, rejected),
        num_seed_messages=2,
        contrasts=contrasts,
        **(defaults | fields),
    )


@pytest.fixture(scope="session")
def make_pair() -> Callable[..., ContrastivePair]:
    """Return a maker of pairs from the replies of both sides; the seed context holds a refusal of its own."""
    return _pair
