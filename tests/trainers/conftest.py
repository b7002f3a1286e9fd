import random
from collections.abc import Callable

import pytest

from music.conversation import Conversation
from music.pairs import PreferencePair

WORDS = ("apple", "pear", "plan", "walk", "city", "cold", "warm", "short", "sentence", "answer", "one", "two", "three")


@pytest.fixture(scope="session")
def make_pairs() -> Callable[..., list[PreferencePair]]:
    """Return a maker of pairs whose chosen replies say `good` where the rejected say `bad`."""

    def make(num_pairs: int, seed: int = 0, num_turns: int = 2) -> list[PreferencePair]:
        rng = random.Random(seed)
        return [_pair(rng, index, rng.randint(1, num_turns)) for index in range(num_pairs)]

    return make


def _pair(rng: random.Random, index: int, num_turns: int) -> PreferencePair:
    chosen = rejected = Conversation()
    for _ in range(num_turns):
        user = " ".join(rng.choices(WORDS, k=4))
        chosen = chosen.user(user).assistant(_reply(rng, "good"))
        rejected = rejected.user(user).assistant(_reply(rng, "bad"))
    return PreferencePair(id=str(index), chosen=chosen, rejected=rejected)


def _reply(rng: random.Random, verdict: str) -> str:
    return " ".join([*rng.choices(WORDS, k=rng.randint(1, 6)), verdict])
