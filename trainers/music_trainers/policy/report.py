"""The result of policy training in words and as a report: the judge's grade, the reward and the divergence by step."""

from collections.abc import Iterator

from music.report import Cell, Interval, Palette, Plot, Point, Report, Table, curves
from music.statistics import describe
from music_trainers.policy.records import PolicyEvaluation, PolicyTrainingResult

__all__ = ["format_evaluation", "format_policy_result", "policy_report"]


def format_evaluation(point: PolicyEvaluation) -> str:
    """Write an evaluation in one line."""
    parts = [f"reward {point.reward}"]
    parts += [f"judge {point.grade}"] if point.grade else []
    parts += [f"KL {point.kl.value:.2f} nats a reply"] if point.kl else []
    parts += [f"{point.reply_tokens:.1f} tokens a reply"]
    parts += [f"{point.num_failed} episodes failed"] if point.num_failed else []
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
    found = result.overoptimisation
    if found is None:
        return []
    if found.sets_in is None:
        return [f"over-optimisation: none beyond noise; the judge's best is step {found.best_step}"]
    lost = f"; the last step is {found.loss} from the best" if found.loss else ""
    return [f"over-optimisation: from step {found.sets_in} on below the judge's best, step {found.best_step}{lost}"]


GRADE, REWARD, KL = "judge's grade", "learned reward", "KL to the start, nats a reply"
POLICY = "policy"
INTRO = (
    "A language model that is trained on the rewards of simulated conversations, measured on held-out conversations. "
    "These are the same at every evaluation. The model never learns from the judge. Intervals are 95%, over "
    "conversations."
)


def policy_report(result: PolicyTrainingResult) -> Report:
    """Return the result of `music rl` as a report."""
    settings = result.config.model_dump(mode="json", exclude_none=True)
    return Report(
        title="Policy training",
        intro=INTRO,
        findings=format_policy_result(result).splitlines()[1:-1],
        parts=[_curves(result), _table(result)],
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
        caption="Replies are sampled. Dashed: the grade of the starting policy with greedy replies. Dotted: the step "
        "with the judge's best grade, and the step from which every grade is below it beyond noise.",
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


def _table(result: PolicyTrainingResult) -> Table:
    evaluations = {"sampled": result.curve, "greedy": (result.greedy_before, result.greedy_after)}
    return Table(
        title="Evaluations",
        caption="With sampled replies, and with greedy replies. Failed episodes are left out.",
        columns=["step", "reward", "grade", "KL", "tokens a reply", "episodes failed"],
        groups={name: [_row(each) for each in some] for name, some in evaluations.items()},
    )


def _row(each: PolicyEvaluation) -> list[Cell]:
    estimates = (each.reward, each.grade, each.kl)
    shown = (None if estimate is None else Interval(estimate=estimate) for estimate in estimates)
    return [each.step, *shown, each.reply_tokens, each.num_failed]
