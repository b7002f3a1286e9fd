from collections.abc import Callable, Sequence
from typing import Any

import pytest

from music.conversation import Conversation
from music.evaluation.benchmarks.fields import prompt_key
from music.evaluation.benchmarks.pairs import pair_item
from music.evaluation.benchmarks.types import Item, ItemSet
from music.evaluation.diagnostics import ProbedPairs, probe_pairs
from music.evaluation.diagnostics.scored_pairs import ScoredPairs
from music.evaluation.scoring import ScoredModel, ScoreSet, score_items
from music.statistics import Figure


def _talk(*messages: str) -> Conversation:
    conversation = Conversation()
    for place, text in enumerate(messages):
        conversation = conversation.assistant(text) if place % 2 else conversation.user(text)
    return conversation


@pytest.fixture
def talk() -> Callable[..., Conversation]:
    """Return a maker of conversations from what user and assistant say in turn."""
    return _talk


@pytest.fixture
def make_pair() -> Callable[..., Item]:
    """Return a maker of pairs: what both sides begin with, then the chosen and the rejected reply."""

    def make(id: object, history: Sequence[str], chosen: str, rejected: str, prompt: str | None = None) -> Item:
        sides = (_talk(*history, chosen), _talk(*history, rejected))
        return pair_item(str(id), "a", *sides, prompt_id=prompt_key(history[0]) if prompt is None else prompt)

    return make


@pytest.fixture
def score_pairs() -> Callable[..., ScoredPairs]:
    """Return a maker of scored pairs from items and a reward of one conversation."""

    def score(items: Sequence[Item], reward: Callable[[Conversation], float]) -> ScoredPairs:
        return ScoredPairs(items, {item.id: [reward(side) for side in item.completions] for item in items})

    return score


@pytest.fixture
def pairs_with() -> Callable[..., ScoredPairs]:
    """Return a maker of scored pairs from the rewards of both sides; by default each pair is its own prompt."""

    def make(rewards: Sequence[tuple[float, float]], prompts: Sequence[object] | None = None) -> ScoredPairs:
        names = range(len(rewards)) if prompts is None else prompts
        items = [
            pair_item(str(place), "a", _talk(f"Q{place}", "yes"), _talk(f"Q{place}", "no"), prompt_id=str(name))
            for place, name in enumerate(names)
        ]
        return ScoredPairs(items, {str(place): list(both) for place, both in enumerate(rewards)})

    return make


@pytest.fixture
def probe_and_score() -> Callable[..., tuple[ProbedPairs, list[ScoreSet]]]:
    """Return what probes pairs and scores them by rewards of one conversation, named by their keyword."""

    def run(items: Sequence[Item], **rewards: Any) -> tuple[ProbedPairs, list[ScoreSet]]:
        probed = probe_pairs(ItemSet("preferences", tuple(items)))
        models = [ScoredModel(name=name, reward=_each(reward)) for name, reward in rewards.items()]
        return probed, [score_items(probed.scored, scored_model) for scored_model in models]

    return run


def _each(reward: Callable[[Conversation], float]) -> Callable[[Sequence[Conversation]], list[float]]:
    return lambda conversations: [reward(conversation) for conversation in conversations]


@pytest.fixture
def by_name() -> Callable[..., dict[str, Figure]]:
    """Return what gives figures, of one table if it is named, by their names."""

    def index(figures: Sequence[Figure], table: str | None = None) -> dict[str, Figure]:
        return {figure.name: figure for figure in figures if table is None or figure.table == table}

    return index
