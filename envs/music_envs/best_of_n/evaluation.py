"""`evaluate_best_of_n`: what a reward is worth as a selector, to a judge, and what it costs."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from music.conversation import Conversation
from music.errors import MusicError
from music.judges.model import open_judge_model
from music.judges.pairwise import PairwiseJudge
from music.judges.settings import JudgeSettings
from music.llm.settings import ClientSettings
from music.progress import ProgressBar, no_progress
from music.reward.functions import RewardFunction, load_reward
from music_envs.best_of_n.by_n import score_by_n
from music_envs.best_of_n.comparison import (
    GradeComparison,
    RolloutComparison,
    compare_grades,
    compare_rollouts,
    grade_rollouts,
    write_judgements,
)
from music_envs.best_of_n.config import BestOfNConfig, BestOfNEvaluationConfig, BestOfNMode
from music_envs.best_of_n.distillation import write_distillation
from music_envs.best_of_n.preparation import CheckedArguments, check_arguments, load_seeds, load_selector
from music_envs.best_of_n.report import SelectorReport, report_selector
from music_envs.best_of_n.rollout import Rollout, write_rollouts
from music_envs.best_of_n.run import run_best_of_n
from music_envs.best_of_n.strategies import Strategy
from music_envs.players import open_players

__all__ = ["BestOfNEvaluation", "evaluate_best_of_n"]

logger = logging.getLogger(__name__)

Grades = Sequence[float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BestOfNEvaluation:
    """The result of an evaluation.

    Attributes:
        mode: Name of the strategy.
        strategy: The strategy, with its options.
        config: Sizes and seed.
        assistant: Endpoint that offered the candidates.
        user: Endpoint that played the user.
        seeds: Source of the prompts.
        judge: The judge; None without one.
        num_conversations: Conversations of each selector.
        arms: A report of the reward, and one of the baseline if there is one.
        comparison: Of the reward with the baseline; None without a baseline or a judge.
        files: The rollouts by arm, and the training sets as `sft` and `dpo`; None if none were written.
    """

    mode: BestOfNMode
    strategy: Strategy
    config: BestOfNConfig
    assistant: str
    user: str
    seeds: str
    judge: str | None
    num_conversations: int
    arms: tuple[SelectorReport, ...]
    comparison: GradeComparison | RolloutComparison | None
    files: dict[str, str] | None


async def evaluate_best_of_n(
    config: BestOfNEvaluationConfig,
    *,
    options: Sequence[str] = (),
    client: ClientSettings | None = None,
    judge_settings: JudgeSettings | None = None,
    progress: ProgressBar = no_progress,
    note: Callable[[str], None] = logger.info,
) -> BestOfNEvaluation:
    """Evaluate a reward as a selector, alone or against a baseline on the same seeds.

    All arguments are checked before models are loaded and replies are paid for.

    Args:
        config: Settings of the evaluation.
        options: Request options of the players, in the form that `music.llm.options.parse_options` reads.
        client: Settings of the players' endpoints.
        judge_settings: Settings of a judge that is a language model.
        progress: Shows the number of replies and judgements.
        note: Called with messages for the user: the selectors in use, the file that keeps the replies.

    Raises:
        InvalidInputError: An argument or an option cannot be read, or does not fit the others.
        MusicError: All conversations of a selector failed, or the judge failed.

    Example:
        >>> import asyncio
        >>> from music_envs import BestOfNEvaluationConfig, evaluate_best_of_n
        >>> config = BestOfNEvaluationConfig(reward="length", baseline="random", num_conversations=4)
        >>> asyncio.run(evaluate_best_of_n(config)).judge
        'oracle'
    """
    arguments = check_arguments(config, options, client or ClientSettings())
    seeds = load_seeds(config, note)
    if config.out is not None:
        config.out.mkdir(parents=True, exist_ok=True)
    selectors = [await asyncio.to_thread(load_selector, name, config.mode, note) for name in config.selectors]
    grader = await asyncio.to_thread(load_reward, arguments.grader) if arguments.grader else None

    arms = await _play(config, arguments, seeds, selectors, progress, note)
    _write(config.out, arms, [None] * len(arms))  # before a judge may fail: the replies were paid for
    grades = [await asyncio.to_thread(grade_rollouts, arm, grader) if grader else None for arm in arms]
    reports = await asyncio.to_thread(_report, config, arms, grades, grader)
    files = _write(config.out, arms, grades)
    if files is not None and config.distil:
        files |= _distil(config, arms[0], note)
    comparison: GradeComparison | RolloutComparison | None
    if arguments.judge_endpoint:
        settings = judge_settings or JudgeSettings()
        comparison = await _judge(arms, arguments.judge_endpoint, settings, config.out, progress)
    else:
        comparison = _compare(grades)
    return BestOfNEvaluation(
        mode=config.mode,
        strategy=arguments.strategy,
        config=config.sizes,
        assistant=config.assistant,
        user=config.user,
        seeds=config.seeds,
        judge=arguments.judge,
        num_conversations=len(seeds),
        arms=reports,
        comparison=comparison,
        files=files,
    )


async def _play(
    config: BestOfNEvaluationConfig,
    arguments: CheckedArguments,
    seeds: Sequence[Conversation],
    selectors: Sequence[RewardFunction],
    progress: ProgressBar,
    note: Callable[[str], None],
) -> list[list[Rollout]]:
    """Run Best-of-N with each selector; equal requests are sent once.

    Raises:
        MusicError: All conversations of a selector failed.
    """
    endpoints = {"assistant": config.assistant, "user": config.user}
    journal = None if config.out is None else config.out / "replies.sqlite"
    # An upper bound: a seed that ends with the user needs no first message, and some modes stop early.
    total = len(seeds) * arguments.strategy.max_calls(config.sizes) * len(selectors)
    try:
        async with open_players(endpoints, arguments.players, journal) as players:
            with progress("replies", total, is_bound=True) as advance:
                run = partial(run_best_of_n, seeds, **players, config=config.sizes, strategy=arguments.strategy)
                arms = [await run(reward=selector, on_call=partial(advance, 1)) for selector in selectors]
    except BaseException:
        if journal is not None:
            note(f"{journal} keeps all replies so far: the same command resumes from there")
        raise
    for rollouts in arms:
        if all(rollout.is_failed for rollout in rollouts):
            raise MusicError(f"all {len(rollouts)} conversations failed; the first: {rollouts[0].error}")
    return arms


def _report(
    config: BestOfNEvaluationConfig,
    arms: Sequence[Sequence[Rollout]],
    grades: Sequence[Grades | None],
    grader: RewardFunction | None,
) -> tuple[SelectorReport, ...]:
    """Return a report of each selector, by n if the candidates do not depend on each other's scores."""
    num = config.sizes.num_candidates
    has_by_n = config.mode in (BestOfNMode.GREEDY, BestOfNMode.WHOLE)
    return tuple(
        report_selector(name, arm, graded, score_by_n(arm, num_candidates=num, judge=grader) if has_by_n else ())
        for name, arm, graded in zip(config.selectors, arms, grades, strict=True)
    )


def _write(
    out: Path | None, arms: Sequence[Sequence[Rollout]], grades: Sequence[Grades | None]
) -> dict[str, str] | None:
    """Write the rollouts of each selector and return the files by arm; None without an output folder."""
    if out is None:
        return None
    files = {}
    for label, arm, graded in zip(("reward", "baseline"), arms, grades, strict=False):
        path = out / f"{label}.jsonl"
        write_rollouts(path, arm, graded or [None] * len(arm))
        files[label] = str(path)
    return files


def _distil(
    config: BestOfNEvaluationConfig, rollouts: Sequence[Rollout], note: Callable[[str], None]
) -> dict[str, str]:
    """Write training sets from the reward's rollouts, and return their files."""
    assert config.out is not None
    distilled = write_distillation(config.out, rollouts, min_margin=config.distil_margin or 0.0)
    note(f"distilled: {distilled}")
    return {"sft": str(distilled.sft), "dpo": str(distilled.dpo)}


def _compare(grades: Sequence[Grades | None]) -> GradeComparison | None:
    """Compare the grades of two selectors; None without grades or without a baseline."""
    given = [each for each in grades if each is not None]
    return compare_grades(*given) if len(given) == 2 else None


async def _judge(
    arms: Sequence[Sequence[Rollout]], endpoint: str, settings: JudgeSettings, out: Path | None, progress: ProgressBar
) -> RolloutComparison:
    """Let a language model compare the two selectors; its replies and judgements go to the output folder."""
    async with open_judge_model(endpoint, settings, out and out / "judge.sqlite") as model:
        with progress("conversations judged", len(arms[0])) as advance:
            found, judgements = await compare_rollouts(arms[0], arms[1], PairwiseJudge(model), partial(advance, 1))
    if out is not None:
        write_judgements(out / "judgements.jsonl", judgements)
    return found
