"""The result of policy training in words and as a report: the judge's grade, the reward and the divergence by step."""

from collections import Counter
from collections.abc import Iterator

from music.report import Cell, Interval, Palette, Plot, Point, Report, Table, curves
from music.statistics import describe
from music_trainers.policy.records import PolicyEvaluation, PolicyTrainingResult, format_errors

__all__ = ["format_evaluation", "format_policy_result", "policy_report"]


def format_evaluation(point: PolicyEvaluation) -> str:
    """Write an evaluation in one line."""
    parts = [f"reward {point.reward}"]
    parts += [f"judge {point.grade}"] if point.grade else []
    parts += [f"KL {point.kl.value:.2f} nats a reply"] if point.kl else []
    parts += [f"{point.reply_tokens:.1f} tokens a reply"]
    parts += [f"{share:.1%} of replies {what}" for share, what in ((point.cut, "cut"), (point.blank, "blank")) if share]
    if point.errors:
        why = format_errors(point.errors.values())
        parts.append(f"{point.num_failed} of {point.num_episodes} episodes failed ({why})")
    return ", ".join(parts)


def format_policy_result(result: PolicyTrainingResult) -> str:
    """Summarise a run in a few lines."""
    start, end = result.curve[0], result.curve[-1]
    lines = [f"{result.config.num_steps} steps, {result.seconds:.0f} s; held-out episodes:"]
    for name, first, last in (("sampled", start, end), ("greedy", result.greedy_before, result.greedy_after)):
        lines += [f"{name}, before: {format_evaluation(first)}", f"{name}, after:  {format_evaluation(last)}"]
        if (gain := last.gain_over(first)) is not None:
            lines.append(f"{name}, judge's gain: {describe(gain)}")
    return "\n".join([*lines, *_overoptimised(result), f"saved to {result.config.out}"])


def _overoptimised(result: PolicyTrainingResult) -> list[str]:
    """Return the verdict in words; nothing without a judge."""
    found = result.overoptimisation
    if found is None:
        why = "fewer than two episodes were played to their end at every evaluation"
        return [f"over-optimisation: not tested, as {why}"] if result.curve[0].grades else []
    best = f"the judge's best, step {found.best_step}"
    if found.loss is None:
        return [f"over-optimisation: none, {best}, is the last"]
    last = f"the last step is {found.loss} from the best"
    if found.sets_in is None:
        return [f"over-optimisation: none beyond noise; {best}; {last}"]
    return [f"over-optimisation: from step {found.sets_in} on below {best}; {last}"]


GRADE, REWARD, KL = "judge's grade", "learned reward", "KL to the start, nats a reply"
POLICY = "policy"
COUNTS = ("tokens a reply", "cut, % of replies", "blank, % of replies", "episodes failed")
INTRO = (
    "A language model that is trained on the rewards of simulated conversations, measured on held-out conversations. "
    "These are the same at every evaluation. Intervals are 95%, over conversations."
)
MARKS = (
    "Dashed: the grade of the starting policy with greedy replies. Dotted: the step with the judge's best grade, and "
    "the step from which every grade is below it beyond noise. Of runs whose grades do not fall, at most 5 % get such "
    "a step."
)
JUDGED = "The model never learns from the judge."
NOT_JUDGED = "There is no judge, so over-optimisation cannot be distinguished from progress."


def policy_report(result: PolicyTrainingResult) -> Report:
    """Return the result of `music rl` as a report."""
    settings = result.config.model_dump(mode="json", exclude_none=True)
    return Report(
        title="Policy training",
        intro=f"{INTRO} {JUDGED if result.curve[0].grades else NOT_JUDGED}",
        findings=format_policy_result(result).splitlines()[1:-1],
        parts=[_curves(result), _table(result), *_failed_episodes(result)],
        notes={"Settings": ", ".join(f"{name} {value}" for name, value in settings.items())},
    )


def _curves(result: PolicyTrainingResult) -> Plot:
    """Draw the curves, with the starting policy's greedy grade and the steps at which grades peak and fall."""
    found = result.overoptimisation
    marks = {"best": found.best_step} if found else {}
    if found and found.sets_in is not None:
        marks["over-optimised"] = found.sets_in
    return curves(
        [point for each in result.curve for point in _points(each, result.greedy_before)],
        title="Plot: curves",
        caption=f"Replies are sampled. {MARKS}" if found else "Replies are sampled.",
        x="step",
        y="",
        palette=Palette([POLICY]),
        reference="start, greedy",
        marks=marks,
        shares_y=False,
    )


def _points(each: PolicyEvaluation, greedy: PolicyEvaluation) -> Iterator[Point]:
    """Yield the points of an evaluation, the grade first."""
    bar = greedy.grade.value if greedy.grade else None
    for panel, estimate, reference in ((GRADE, each.grade, bar), (REWARD, each.reward, None), (KL, each.kl, None)):
        if estimate is not None:
            yield Point(place=each.step, estimate=estimate, series=POLICY, panel=panel, reference=reference)


def _by_replies(result: PolicyTrainingResult) -> dict[str, tuple[PolicyEvaluation, ...]]:
    """Return the evaluations with sampled and those with greedy replies."""
    return {"sampled": result.curve, "greedy": (result.greedy_before, result.greedy_after)}


def _table(result: PolicyTrainingResult) -> Table:
    is_judged = result.curve[0].grades is not None
    return Table(
        title="Evaluations",
        caption=f"With sampled replies, and with greedy replies. A reply is cut at {result.config.max_reply_tokens} "
        "tokens. Failed episodes are left out.",
        columns=["step", "reward", *(["grade"] if is_judged else []), "KL", *COUNTS],
        groups={name: [_row(each, is_judged) for each in some] for name, some in _by_replies(result).items()},
    )


def _row(each: PolicyEvaluation, is_judged: bool) -> list[Cell]:
    estimates = (each.reward, *((each.grade,) if is_judged else ()), each.kl)
    shown = (None if estimate is None else Interval(estimate=estimate) for estimate in estimates)
    shares = (None if share is None else 100 * share for share in (each.cut, each.blank))
    return [each.step, *shown, each.reply_tokens, *shares, each.num_failed]


def _failed_episodes(result: PolicyTrainingResult) -> list[Table]:
    """Return the table of errors, if there were any."""
    groups: dict[str, list[list[Cell]]] = {
        name: [[each.step, error, num] for each in some for error, num in Counter(each.errors.values()).most_common()]
        for name, some in _by_replies(result).items()
    }
    if not any(groups.values()):
        return []
    caption = "The errors that ended held-out episodes, and how many episodes each of them ended."
    return [Table(title="Failed episodes", caption=caption, columns=["step", "error", "episodes"], groups=groups)]
