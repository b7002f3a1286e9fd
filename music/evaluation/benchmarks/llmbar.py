"""LLMBar (arXiv 2310.07641): one output follows the instruction, the other does not, but may look better.

The schema and the five sets are those of princeton-nlp/LLMBar on GitHub (`Dataset/LLMBar/*/dataset.json`): `input`,
`output_1`, `output_2`, and `label`, 1 or 2. All five files have one name there. Name them after their sets
(`Natural.json`, `Neighbor.json`, ...), as the sets have figures of their own. The paper reports each set and the
average of the four adversarial ones.
"""

from collections.abc import Iterable, Sequence

from music.evaluation.benchmarks.fields import prompt_key, read_number, reply, row_fields
from music.evaluation.benchmarks.pairs import pair_item
from music.evaluation.benchmarks.scored import ScoredItems
from music.evaluation.benchmarks.types import Item, Scores
from music.preferences.messages import read_text
from music.preferences.sources import Row
from music.statistics import Figure

__all__ = ["LLMBar"]

ADVERSARIAL = ("Neighbor", "GPTInst", "GPTOut", "Manual")
SETS = ("Natural", *ADVERSARIAL)


class LLMBar:
    """LLMBar, from the files of its sets."""

    name = "llmbar"
    source = "princeton-nlp/LLMBar, on GitHub or the hub; arXiv 2310.07641"
    split = "Natural"

    def read(self, row: Row) -> Iterable[Item]:
        """Return the pair of a row, with the output that follows the instruction as the chosen side."""
        fields = row_fields(row)
        instruction = read_text(fields, "input")
        texts = [read_text(fields, name) for name in ("output_1", "output_2")]
        sides = [reply(instruction, text, f"output_{n}") for n, text in enumerate(texts, start=1)]
        if read_number(fields, "label", (1, 2)) == 2:
            sides.reverse()
        subset = next((name for name in SETS if name.lower() in row.stem.lower()), row.stem)
        id_ = f"{subset}/{prompt_key(' '.join([instruction, *texts]))}"
        return [pair_item(id_, subset, *sides, prompt_id=prompt_key(instruction))]

    def figures(self, items: Sequence[Item], scores: Scores) -> list[Figure]:
        """Return the accuracy over all pairs, the mean of the adversarial sets, and the accuracy of each set."""
        scored = ScoredItems(items, scores)
        groups = dict.fromkeys(SETS) | scored.group(lambda item: item.subset)
        found = [where for name in ADVERSARIAL if (where := groups[name]) is not None]
        name = "adversarial" if len(found) == len(ADVERSARIAL) else f"mean of {len(found)} of 4 adversarial sets"
        shares = [scored.share(where, 1 / len(found)) for where in found]
        note = "unweighted mean of the four sets" if found else "missing: no file is named after an adversarial set"
        return [
            scored.accuracy("overall", scored.places),
            scored.figure(name, *shares, chance=0.5 if found else None, note=note),
            *(scored.accuracy(name, where, table="sets") for name, where in groups.items()),
        ]
