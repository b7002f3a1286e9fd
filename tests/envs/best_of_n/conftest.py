from dataclasses import dataclass

import pytest

from music.conversation import Conversation
from music.sandbox.model import SandboxModel
from music.sandbox.world.seeds import seed_pairs
from music_envs import Anytime, Beam, BestOfNConfig, CandidateSampler, Greedy, Strategy, Whole

SEEDS = (
    *(pair.chosen.prefix(len(pair.chosen.messages) - 1) for pair in seed_pairs(6, 3)),
    Conversation(),
    Conversation().user("Which tea?").assistant("Green."),
)


@pytest.fixture
def seeds():
    """Return prompts that end with the user, nothing at all, and a conversation that the user goes on with."""
    return SEEDS


@pytest.fixture
def config():
    return BestOfNConfig(num_candidates=3, num_turns=3, seed=11)


@pytest.fixture
def players():
    """Return a maker of both players' arguments."""

    def make(**models):
        return {"assistant": SandboxModel("fair"), "user": SandboxModel()} | models

    return make


@pytest.fixture
def shortest():
    """Return a reward that prefers less text."""

    def reward(conversations):
        return [-float(sum(len(m.content) for m in c.messages)) for c in conversations]

    return reward


@dataclass(frozen=True)
class Strategic:
    strategy: Strategy
    num_scorings: int
    """Of them, the last one that there is to every run."""


@pytest.fixture(
    params=[
        Strategic(Greedy(), 3),
        Strategic(Anytime(margin=1000.0, round_size=2), 4),
        Strategic(Beam(width=2), 3),
        Strategic(Whole(), 1),
    ],
    ids=lambda param: type(param.strategy).__name__,
)
def every_strategy(request):
    return request.param


@pytest.fixture
def sampler(players):
    """Return a maker of samplers."""
    return lambda config: CandidateSampler(**players(), config=config)
