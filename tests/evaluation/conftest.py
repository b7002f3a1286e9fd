import json
from collections.abc import Callable, Sequence

import pytest

from music.conversation import Conversation
from music.evaluation.benchmarks.pairs import pair_item
from music.evaluation.benchmarks.registry import load_benchmark, read_benchmark
from music.evaluation.benchmarks.types import ItemSet
from music.evaluation.scoring import ScoredModel, ScoreSet, score_items


@pytest.fixture
def make_pairs() -> Callable[[int], ItemSet]:
    """Return a maker of pairs with one turn; the rejected reply is the longer one, and the chosen one says `right`."""

    def make(num: int) -> ItemSet:
        prompts = [Conversation().user(f"Question {index}?") for index in range(num)]
        tags = {"turns": 1, "longer": "rejected side longer"}
        pairs = [
            pair_item(str(index), "a", prompt.assistant("right"), prompt.assistant("quite wrong"), tags=tags)
            for index, prompt in enumerate(prompts)
        ]
        return ItemSet("preferences", tuple(pairs))

    return make


@pytest.fixture
def score_right() -> Callable[..., ScoreSet]:
    """Return what scores pairs so that those at some places come out right and all others wrong."""

    def score(items: ItemSet, places: Sequence[int], name: str = "model") -> ScoreSet:
        right = {items.items[place].completions[0] for place in places}

        def reward(conversations: Sequence[Conversation]) -> list[float]:
            return [2.0 if c in right else 1.0 if "wrong" in c.messages[-1].content else 0.0 for c in conversations]

        return score_items(items, ScoredModel(name=name, reward=reward))

    return score


@pytest.fixture
def read(tmp_path):
    """Write rows of files as JSON lines and read them as a benchmark; `read(name, rows)` or `read(name, file=rows)`.

    Two underscores in a file's name stand for a dash.
    """

    def read(name, rows=None, *, strict=True, **files):
        paths = []
        for stem, own in (files if rows is None else {"rows": rows}).items():
            path = tmp_path / f"{stem.replace('__', '-')}.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in own))
            paths.append(str(path))
        return read_benchmark(load_benchmark(name), paths, strict=strict)

    return read


@pytest.fixture
def figures():
    """Return a benchmark's figures by table and name; scores by the id of an item."""

    def figures(item_set, scores):
        return {
            (figure.table, figure.name): figure
            for figure in load_benchmark(item_set.benchmark).figures(item_set.items, scores)
        }

    return figures


@pytest.fixture
def values(figures):
    """Return the values of a benchmark's figures by table and name; None where a figure has none."""

    def values(item_set, scores):
        found = figures(item_set, scores)
        return {key: figure.estimate.value if figure.estimate else None for key, figure in found.items()}

    return values
