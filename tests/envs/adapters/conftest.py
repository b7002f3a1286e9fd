import pytest

from music.conversation import Conversation
from music.sandbox.seeds import seed_pairs


@pytest.fixture
def prompts():
    """Three prompts of the sandbox, as messages that end with the user."""
    pairs = [pair.chosen.prefix(len(pair.chosen.messages) - 1) for pair in seed_pairs(40, 3)]
    return [p.to_messages() for p in pairs if len(p.messages) == 1][:3]


@pytest.fixture
def reward_length():
    """A reward that tells conversations apart and that a test can work out itself: characters of the replies."""

    def reward(conversations):
        assert all(isinstance(c, Conversation) and c.messages[-1].role == "assistant" for c in conversations)
        return [float(sum(len(m.content) for m in c.messages if m.role == "assistant")) for c in conversations]

    return reward
