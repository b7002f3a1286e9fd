"""The report of a policy's training: the judge, the reward and the divergence side by side, by step."""

from collections.abc import Iterator

from music.report import Cell, Interval, Palette, Plot, Point, Report, Table, curves
from music_trainers.policy.progress import format_policy_result
from music_trainers.policy.records import PolicyEvaluation, PolicyTrainingResult

__all__ = ["policy_report"]

GRADE, REWARD, KL = "judge's grade", "learned reward", "KL to the start, nats a reply"
POLICY = "policy"
INTRO = (
    "A language model, trained on the rewards of simulated conversations, on held-out conversations that are the same "
    "at every evaluation. It never learns from the judge. Intervals are of 95%, over conversations."
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
    """Draw the curves, with the starting policy's greedy grade, and where grades peak and fall."""
    return curves(
        [point for each in result.curve for point in _points(each, result.greedy_before)],
        title="Plot: curves",
        caption="Replies are sampled. The dashed level is what the starting policy gets where it always takes the "
        "likeliest token; dotted lines: the judge's best, and from where on every grade is below it beyond noise.",
        x="step",
        y="",
        palette=Palette([POLICY]),
        reference="start, greedy",
        marks=_marks(result),
        shares_y=False,
    )


def _points(each: PolicyEvaluation, greedy: PolicyEvaluation) -> Iterator[Point]:
    """Yield what an evaluation has, the grade first."""
    bar = greedy.grade.value if greedy.grade else None
    for panel, estimate, reference in ((GRADE, each.grade, bar), (REWARD, each.reward, None), (KL, each.kl, None)):
        if estimate is not None:
            yield Point(place=each.step, estimate=estimate, series=POLICY, panel=panel, reference=reference)


def _marks(result: PolicyTrainingResult) -> dict[str, int]:
    found = result.overoptimisation
    if found is None:
        return {}
    return {"best": found.best_step} | ({} if found.sets_in is None else {"over-optimised": found.sets_in})


def _table(result: PolicyTrainingResult) -> Table:
    evaluations = {"sampled": result.curve, "greedy": (result.greedy_before, result.greedy_after)}
    return Table(
        title="Evaluations",
        caption="Replies sampled, and where the policy always takes the likeliest token. Failed episodes are left out.",
        columns=["step", "reward", "grade", "KL", "tokens a reply", "episodes failed"],
        groups={name: [_row(each) for each in some] for name, some in evaluations.items()},
    )


def _row(each: PolicyEvaluation) -> list[Cell]:
    estimates = (each.reward, each.grade, each.kl)
    shown = (None if estimate is None else Interval(estimate=estimate) for estimate in estimates)
    return [each.step, *shown, each.reply_tokens, each.num_failed]
