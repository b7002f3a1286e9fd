"""JudgeBench (arXiv 2410.12784): pairs of a right and a wrong answer to hard questions.

Accuracy is given overall and by source, as its `run_judge.py --single_game` reports for reward models. The leaderboard
quotes the 350 pairs of GPT-4o; 270 more are of Claude 3.5 Sonnet. Its own code counts a tie as `B>A`; here it is a
miss.
"""

from collections.abc import Iterable, Sequence

from music.evaluation.benchmarks.fields import prompt_key, read_choice, read_key, reply, row_fields
from music.evaluation.benchmarks.pairs import pair_item
from music.evaluation.benchmarks.scored import ScoredItems
from music.evaluation.benchmarks.types import Item, Scores
from music.preferences.messages import read_text
from music.preferences.sources import Row
from music.statistics import Figure

__all__ = ["JudgeBench"]

SOURCES = ("mmlu-pro", "livebench-reasoning", "livebench-math", "livecodebench")


class JudgeBench:
    """JudgeBench, from its two splits."""

    name = "judgebench"
    source = "ScalerLab/JudgeBench, splits `gpt` and `claude`; arXiv 2410.12784"
    split = "gpt"

    def read(self, row: Row) -> Iterable[Item]:
        """Return the pair of a row, with the better answer as the chosen side."""
        fields = row_fields(row)
        question = read_text(fields, "question")
        sides = [reply(question, read_text(fields, name), name) for name in ("response_A", "response_B")]
        if read_choice(fields, "label", ("A>B", "B>A")) == "B>A":
            sides.reverse()
        source, model = read_text(fields, "source"), read_text(fields, "response_model")
        return [
            pair_item(
                read_key(fields, "pair_id"),
                next((group for group in SOURCES if source.startswith(group)), source),
                *sides,
                prompt_id=prompt_key(question),
                tags={"response_model": model},
            )
        ]

    def figures(self, items: Sequence[Item], scores: Scores) -> list[Figure]:
        """Return the accuracy over all pairs, by source, and by the model that wrote the answers."""
        scored = ScoredItems(items, scores)
        models = scored.accuracies("response models", lambda item: str(item.tags["response_model"]))
        note = "pools answers of several models; the leaderboard quotes GPT-4o's" if len(models) > 1 else ""
        groups = dict.fromkeys(SOURCES) | scored.group(lambda item: item.subset)
        sources = [scored.accuracy(name, where, table="sources") for name, where in groups.items()]
        return [scored.accuracy("overall", scored.places, note=note), *sources, *models]
