"""Takes scores from whatever a user names: a reward model, a judge, or a file of scores from an earlier run."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

from music.aio import run_async
from music.errors import InvalidInputError
from music.evaluation.benchmarks.types import ItemSet
from music.evaluation.scoring.ensemble import combine, require_one_scale
from music.evaluation.scoring.imported import import_scores
from music.evaluation.scoring.judged import describe_judge, judge_items, open_item_judge
from music.evaluation.scoring.records import ScoreSet
from music.evaluation.scoring.scorer import ScoredModel, load_scored_model, score_items
from music.evaluation.scoring.store import ScoreStore, read_scores
from music.judges.settings import Ensemble, JudgeSettings, read_ensemble, read_judge
from music.progress import ProgressBar, no_progress
from music.reward.functions import require_reward

__all__ = ["require_scorers", "scores_by_name"]

SCORES, IMPORTED = ".jsonl", "scores:"
logger = logging.getLogger(__name__)


def require_scorers(*names: str) -> None:
    """Check, before anything is read, that each name is that of a file of scores, a judge or a reward.

    Raises:
        InvalidInputError: There is no such file, judge or reward.
    """
    for name in names:
        if name.startswith(IMPORTED):
            if not Path(name.removeprefix(IMPORTED)).is_file():
                raise InvalidInputError(f"{name}: expected a file of rows of `id` and `scores`; there is no such file")
        elif (ensemble := read_ensemble(name)) is not None:
            require_one_scale(ensemble)
        elif name.endswith(SCORES):
            if not Path(name).is_file():
                raise InvalidInputError(f"{name}: expected a file of scores written by --out; there is no such file")
        elif not read_judge(name):
            require_reward(name)


def scores_by_name(
    name: str,
    items: ItemSet,
    path: Path | None = None,
    *,
    strict: bool = True,
    judge_settings: JudgeSettings | None = None,
    progress: ProgressBar = no_progress,
    note: Callable[[str], None] = logger.info,
    load: Callable[[str], ScoredModel] = load_scored_model,
) -> ScoreSet:
    """Return the scores of all items from the model, judge or file of this name.

    Args:
        name: A file of scores (`.jsonl`), scores that were computed elsewhere (`scores:FILE`), a judge (see
            `read_judge`), an ensemble of judges (see `read_ensemble`) or a reward (see `load_reward`).
        items: The items to score.
        path: The file to write the scores to; a judge's replies go to a file beside it. Unused if `name` is a file of
            scores.
        strict: Whether a completion without a score is an error; see `score_items` and `judge_items`.
        judge_settings: How to ask a judge.
        progress: Shows how many items are scored.
        note: Called with a description of the scorer, and the largest number of judgements that it may need.
        load: Loads a reward; one that keeps models saves time if items of several benchmarks are scored.

    Raises:
        InvalidInputError: There is no such scorer, or the scores are of other items or of another model.
        UnscoredError: A completion has no score, and `strict`.
        MusicError: A judge could not judge; see `judge_items`.
    """
    if name.startswith(IMPORTED):
        return import_scores(Path(name.removeprefix(IMPORTED)), items)
    if name.endswith(SCORES):
        return read_scores(Path(name), items)
    if (ensemble := read_ensemble(name)) is not None:
        return _combined(
            name,
            ensemble,
            items,
            path,
            partial(scores_by_name, strict=strict, judge_settings=judge_settings, progress=progress, note=note),
        )
    if read_judge(name):
        return run_async(_judged(name, items, path, judge_settings or JudgeSettings(), strict, progress, note))
    model = load(name)
    note(f"{name}: {model.description}" if model.description else name)
    with progress("items", len(items.items)) as advance:
        return score_items(items, model, path, strict=strict, on_scored=advance)


def _combined(
    name: str, ensemble: Ensemble, items: ItemSet, path: Path | None, score: Callable[..., ScoreSet]
) -> ScoreSet:
    """Return the scores of an ensemble; each judge's scores and replies are kept in files of their own."""
    sets = [
        score(member, items, path and path.with_stem(f"{path.stem}-{number}"))
        for number, member in enumerate(ensemble.members, start=1)
    ]
    combined = combine(name, ensemble, items, sets)
    if path is not None:
        ScoreStore.open(path, combined.header, items).append(list(combined.rows.values()))
    return combined


async def _judged(
    name: str,
    items: ItemSet,
    path: Path | None,
    settings: JudgeSettings,
    strict: bool,
    progress: ProgressBar,
    note: Callable[[str], None],
) -> ScoreSet:
    async with open_item_judge(name, settings, path.with_suffix(".sqlite") if path else None) as judge:
        num_calls = sum(map(judge.num_calls, items.items))
        note(f"{name}: at most {num_calls:,} judgements")
        with progress("items", len(items.items)) as advance:
            described = describe_judge(name, settings)
            return await judge_items(items, described, judge, path, strict=strict, on_judged=partial(advance, 1))
