from collections.abc import Callable
from typing import Any

import pytest

from music.conversation import Conversation
from music.evaluation.benchmarks.types import Item, ItemSet
from music.evaluation.scoring import ScoredModel


@pytest.fixture
def make_items() -> Callable[..., ItemSet]:
    """Return a maker of items with three completions of one prompt each, of about so many characters."""

    def make(num: int, num_characters: int = 60, benchmark: str = "fruit") -> ItemSet:
        return ItemSet(benchmark, tuple(_item(index, num_characters) for index in range(num)))

    return make


def _item(index: int, num_characters: int) -> Item:
    prompt = Conversation().user(f"Fruit number {index}, {'please ' * (num_characters // 7)}")
    completions = tuple(prompt.assistant(f"An apple {'and a pear ' * more} of {index}.") for more in range(3))
    return Item(id=f"fruit/{index}", subset="a", completions=completions, labels=(1.0, 0.0, 0.0), prompt_id=str(index))


class CountingReward:
    """Rewards characters, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Conversation] = []

    def __call__(self, conversations: Any) -> list[float]:
        self.asked += conversations
        return [float(sum(len(message.content) for message in c.messages)) for c in conversations]


@pytest.fixture
def make_scored_model() -> Callable[..., ScoredModel]:
    """Return a maker of models whose reward keeps what it was asked, in `asked`."""

    def make(reward: Any = None, fingerprint: str | None = "f1", name: str = "model-1") -> ScoredModel:
        return ScoredModel(name=name, reward=reward or CountingReward(), fingerprint=fingerprint)

    return make
