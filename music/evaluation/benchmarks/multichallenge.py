"""MultiChallenge (arXiv 2501.17399): replies to the last turn of a conversation, each of which passes or fails.

The benchmark asks models for replies and a judge for a verdict on each. A reward model is measured on these replies: of
two replies to one conversation, does the one that passes have the higher reward?

The files are the detailed results of the authors' program (ekwinox117/multi-challenge on GitHub: `main.py --raw FILE`,
`src/result_parser.py`), one or more, of one model or of several: CSV with `question_id`, `axis`,
`original_conversation` (each message after a line `USER:` or `ASSISTANT:`), `attempt_number`, `model_response` and
`passed` (`PASSED` or `FAILED`). As in that program, the score is the unweighted mean of the axes.
"""

import re
from collections.abc import Iterable, Sequence

import numpy as np

from music.conversation import Message, Role
from music.evaluation.benchmarks.fields import read_choice, read_key, reply, row_fields, wrong
from music.evaluation.benchmarks.pairs import MANY_TURNS, turns_name
from music.evaluation.benchmarks.scored import Floats, Places, ScoredItems, WeightedMean
from music.evaluation.benchmarks.types import Item, LeftOutError, Scores
from music.preferences.messages import read_text
from music.preferences.row_messages import RowMessage, to_conversation
from music.preferences.sources import Row
from music.statistics import Figure

__all__ = ["MultiChallenge"]

_SPEAKER = re.compile(r"^(SYSTEM|USER|ASSISTANT):\n", re.MULTILINE)
_ROLES: dict[str, Role] = {"SYSTEM": "system", "USER": "user", "ASSISTANT": "assistant"}


class MultiChallenge:
    """MultiChallenge, from the detailed results of its program."""

    name = "multichallenge"
    source = "ekwinox117/multi-challenge on GitHub, files that `main.py --raw` writes; arXiv 2501.17399"
    split = "test"

    def read(self, row: Row) -> Iterable[Item]:
        """Return a reply.

        Raises:
            LeftOutError: There is no reply.
        """
        fields = row_fields(row)
        question = read_key(fields, "question_id")
        if fields.get("model_response") in (None, "", "N/A"):
            raise LeftOutError("no reply")
        history = _history(read_text(fields, "original_conversation"))
        passed = read_choice(fields, "passed", ("PASSED", "FAILED"))
        return [
            Item(
                id=f"{row.stem}/{question}/{read_key(fields, 'attempt_number')}",
                subset=read_text(fields, "axis"),
                completions=(reply(history, read_text(fields, "model_response"), "model_response"),),
                labels=(float(passed == "PASSED"),),
                prompt_id=question,
            )
        ]

    def figures(self, items: Sequence[Item], scores: Scores) -> list[Figure]:
        """Return how often a reply that passes has the higher reward: the mean of the axes, by axis, and by turns."""
        scored = ScoredItems(items, scores)
        values, where = _by_question(scored)
        axes = _groups([items[place].subset for place in where])
        turns = _groups([turns_name(min(items[place].completions[0].num_turns, MANY_TURNS)) for place in where])
        shares = [WeightedMean(values[at], where[at], 1 / len(axes)) for at in axes.values()]
        alike = len({item.prompt_id for item in items}) - len(where)
        note = f"unweighted mean of {len(axes)} axes; {alike} questions whose replies all pass or all fail left out"
        parts = [(name, "axes", at) for name, at in axes.items()]
        parts += [(name, "turns", turns[name]) for name in sorted(turns)]
        return [
            scored.figure("overall", *shares, chance=0.5 if shares else None, note=note),
            *(scored.figure(n, WeightedMean(values[at], where[at]), table=t, chance=0.5) for n, t, at in parts),
        ]


def _history(text: str) -> tuple[Message, ...]:
    """Return the messages of a conversation as text."""
    start, *parts = _SPEAKER.split(text)
    if start.strip() or not parts:
        raise wrong("original_conversation", "messages after lines `USER:` or `ASSISTANT:`", repr(text[:40]))
    pairs = zip(parts[::2], parts[1::2], strict=True)
    messages = [
        RowMessage(_ROLES[name], content.removesuffix("\n"), "original_conversation") for name, content in pairs
    ]
    return to_conversation(messages, "original_conversation").messages


def _by_question(scored: ScoredItems) -> tuple[Floats, Places]:
    """Return, for each question with passing and failing replies, the share of right pairs, and one of its items."""
    values, where = [], []
    for places in scored.group(lambda item: item.prompt_id).values():
        passes = np.array([scored.items[place].labels[0] == 1 for place in places])
        if passes.all() or not passes.any():
            continue
        rewards = scored.scores[scored.starts[places]]
        values.append(float((rewards[passes][:, None] > rewards[~passes][None, :]).mean()))
        where.append(int(places[0]))
    return np.array(values), np.array(where, dtype=np.int64)


def _groups(keys: Sequence[str]) -> dict[str, Places]:
    found: dict[str, list[int]] = {}
    for place, key in enumerate(keys):
        found.setdefault(key, []).append(place)
    return {key: np.array(places, dtype=np.int64) for key, places in found.items()}
