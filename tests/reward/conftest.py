import random
from collections.abc import Callable

import pytest

from music.conversation import Conversation

WORDS = ("apple", "pear", "plan", "walk", "city", "cold", "warm", "short", "sentence", "answer", "one", "two", "three")


@pytest.fixture
def make_conversation() -> Callable[..., Conversation]:
    """Return a maker of conversations of random words, the same for the same seed."""

    def make(seed: int, num_turns: int = 3, num_words: int = 8, system: bool = False) -> Conversation:
        rng = random.Random(seed)
        messages = [{"role": "system", "content": "Be short."}] if system else []
        for _ in range(num_turns):
            messages.append({"role": "user", "content": " ".join(rng.choices(WORDS, k=rng.randint(1, num_words)))})
            messages.append({"role": "assistant", "content": " ".join(rng.choices(WORDS, k=rng.randint(1, num_words)))})
        return Conversation.from_messages(messages)

    return make
