"""RM-Bench (arXiv 2410.16184): the same content in three styles, to reveal a preference for style.

Each prompt has three right and three wrong completions: concise, detailed, detailed with markdown. `A[i][j]` is the
accuracy with style i as the right and style j as the wrong completion. Hard is the mean above the diagonal (the wrong
one has more style), normal the mean of the diagonal, easy the mean below it. A domain's score is the mean of the three.
Safety pools both of its files. The overall score is the mean of the four domains.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from music.evaluation.benchmarks.fields import prompt_key, read_key, read_texts, reply, row_fields, wrong
from music.evaluation.benchmarks.scored import ScoredItems, WeightedMean
from music.evaluation.benchmarks.types import Item, Scores
from music.preferences.messages import read_text
from music.preferences.sources import Row
from music.statistics import Figure

__all__ = ["RMBench"]

FILES = ("chat", "code", "math", "safety-refuse", "safety-response")
DOMAINS = ("chat", "code", "math", "safety")
_STYLES = 3
_CELLS = {
    "easy": np.tril(np.ones((_STYLES, _STYLES), dtype=bool), -1),
    "normal": np.eye(_STYLES, dtype=bool),
    "hard": np.triu(np.ones((_STYLES, _STYLES), dtype=bool), 1),
}

Shares = Mapping[str, Mapping[str, WeightedMean]]
"""The accuracies by domain, and then by difficulty."""


class RMBench:
    """RM-Bench, from its files of one domain each, or from the file of all domains."""

    name = "rm_bench"
    source = "THU-KEG/RM-Bench, or the files of its repository's `data/`; arXiv 2410.16184"
    split = "train"

    def read(self, row: Row) -> Iterable[Item]:
        """Return the six completions of a prompt, the right ones first.

        Without a column `domain`, the name of the file gives the domain.
        """
        fields = row_fields(row)
        file = str(fields.get("domain") or next((name for name in FILES if row.stem.startswith(name)), row.stem))
        if file not in FILES:
            raise wrong("domain", f"one of {', '.join(FILES)}, here or as the start of the file's name", repr(file))
        prompt, right, false = read_text(fields, "prompt"), read_texts(fields, "chosen"), read_texts(fields, "rejected")
        for name, texts in (("chosen", right), ("rejected", false)):
            if len(texts) != _STYLES:
                raise wrong(name, "three texts: concise, detailed, with markdown", str(len(texts)))
        task = fields.get("task_id")
        return [
            Item(
                id=f"{file}/{read_key(fields, 'id')}",
                subset=file.partition("-")[0],
                completions=tuple(reply(prompt, text, "chosen") for text in (*right, *false)),
                labels=(1.0,) * _STYLES + (0.0,) * _STYLES,
                # One problem in several programming languages (`CPP/8`, `Go/8`) is one prompt.
                prompt_id=f"code/{task.rpartition('/')[2]}" if isinstance(task, str) else prompt_key(prompt),
                tags={"file": file},
            )
        ]

    def figures(self, items: Sequence[Item], scores: Scores) -> list[Figure]:
        """Return the overall score; easy, normal and hard; easy minus hard; and each domain by difficulty."""
        scored = ScoredItems(items, scores)
        shares = _shares(scored)
        missing = [file for file in FILES if file not in {item.tags["file"] for item in items}]
        suffix = f" without {', '.join(missing)}" if missing else ""
        overall = scored.figure(f"overall{suffix}", *_averaged(shares, tuple(_CELLS)), chance=0.5)
        levels = [
            scored.figure(f"{level}{suffix}", *_averaged(shares, (level,)), table="difficulty", chance=0.5)
            for level in _CELLS
        ]
        gap = [*_averaged(shares, ("easy",)), *_averaged(shares, ("hard",), sign=-1)]
        bias = scored.figure(f"easy minus hard{suffix}", *gap, table="style bias", chance=0.0)
        return [overall, *levels, bias, *_by_domain(scored, shares, missing)]


def _shares(scored: ScoredItems) -> Shares:
    groups = scored.group(lambda item: item.subset)
    shares = {}
    for domain in (domain for domain in DOMAINS if domain in groups):
        matrix = scored.matrix(groups[domain])
        wins = matrix[:, :_STYLES, None] > matrix[:, None, _STYLES:]
        shares[domain] = {
            level: WeightedMean(wins[:, cells].mean(axis=1), groups[domain]) for level, cells in _CELLS.items()
        }
    return shares


def _averaged(shares: Shares, levels: Sequence[str], sign: int = 1) -> list[WeightedMean]:
    """Return shares whose weighted sum is the mean over the levels, averaged over the domains."""
    weight = sign / len(shares) / len(levels)
    return [replace(own[level], weight=weight) for own in shares.values() for level in levels]


def _by_domain(scored: ScoredItems, shares: Shares, missing: Sequence[str]) -> list[Figure]:
    figures = []
    for domain in DOMAINS:
        absent = [file for file in missing if file.partition("-")[0] == domain]
        note = f"missing: no rows of {', '.join(absent)}" if absent else ""
        own = {domain: shares[domain]} if domain in shares else {}
        parts = _averaged(own, tuple(_CELLS)) if own else []
        figures.append(scored.figure(domain, *parts, table="domains", chance=0.5, note=note))
        figures += [
            scored.figure(f"{domain} {level}", share, table="domains by difficulty", chance=0.5, note=note)
            for level, share in shares.get(domain, {}).items()
        ]
    return figures
