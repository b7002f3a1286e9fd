"""The recipe of docs/rl.md over several seeds: `python -m benchmarks.policy_training --reward MODEL --out runs/rl`.

Trains the sandbox's backbone by `music rl` for each seed and KL weight, one run after the other, and evaluates it with
greedy replies wherever it is evaluated with sampled ones. A finished run is not repeated. Prints Markdown, and draws
the curves, one file for each KL weight.

A figure over seeds is the mean of the seeds' means. Its interval is Student's over the seeds: it covers the draw of
training users and of sampled replies. All seeds share the held-out users, so it does not cover those.
"""

import argparse
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any
from unittest import mock

import vl_convert
from pydantic import TypeAdapter
from scipy.stats import t

from benchmarks.contrast_tables import print_row
from music.conversation import Conversation
from music.report import Palette, Point, curves
from music.statistics import CONFIDENCE, Estimate
from music_trainers.policy import run
from music_trainers.policy.config import PolicyTrainingConfig
from music_trainers.policy.evaluation import HeldOutEpisodes
from music_trainers.policy.records import PolicyEvaluation, PolicyTrainingResult

GREEDY_FILE = "greedy.json"
EVALUATIONS = TypeAdapter(tuple[PolicyEvaluation, ...])
SAMPLED, GREEDY = "sampled", "greedy"
MIN_SEEDS = 3
EARLY = 20
"""The step that the end is compared with; chosen from earlier runs, so that no run picks its own best step."""


@dataclass(frozen=True, slots=True)
class Run:
    """One seed's evaluations, by step, with sampled and with greedy replies."""

    result: PolicyTrainingResult
    curves: Mapping[str, Mapping[int, PolicyEvaluation]]


class WithGreedy(HeldOutEpisodes):
    """Held-out episodes that are played with greedy replies as well."""

    curve: list[PolicyEvaluation]

    def evaluate(
        self, model: Any, step: int, *, greedy: bool = False
    ) -> tuple[PolicyEvaluation, tuple[Conversation, ...]]:
        """Evaluate as asked; with sampled replies, evaluate greedy ones too."""
        if not greedy:
            self.curve.append(super().evaluate(model, step, greedy=True)[0])
        return super().evaluate(model, step, greedy=greedy)


def main() -> None:
    """Train what is not trained yet, print the tables, and draw the curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reward", required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/rl-seeds"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--kl-weights", type=float, nargs="+", default=[0.1, 0.0])
    parser.add_argument("--num-steps", type=int, default=60)
    parser.add_argument("--evaluate-every", type=int, default=10)
    given = parser.parse_args()
    steps = {"num_steps": given.num_steps, "evaluate_every": given.evaluate_every}
    by_weight: dict[float, list[Run]] = {weight: [] for weight in given.kl_weights}
    for seed in given.seeds:
        for weight in given.kl_weights:
            out = given.out / f"kl-{weight:g}-seed-{seed}"
            config = PolicyTrainingConfig(out=out, reward=given.reward, kl_weight=weight, seed=seed, **steps)
            by_weight[weight].append(trained(config))
    print_seeds(by_weight)
    print_means(by_weight)
    for weight, runs in by_weight.items():
        (given.out / f"kl-{weight:g}.svg").write_text(drawn(runs), encoding="utf-8")


def trained(config: PolicyTrainingConfig) -> Run:
    """Return a run, which is made unless it is there."""
    path = config.out / GREEDY_FILE
    if not path.exists():
        WithGreedy.curve = []
        with mock.patch.object(run, "HeldOutEpisodes", WithGreedy):
            run.train_policy(config)
        path.write_bytes(EVALUATIONS.dump_json(tuple(WithGreedy.curve)))
    result = PolicyTrainingResult.model_validate_json((config.out / "result.json").read_bytes())
    both = {SAMPLED: result.curve, GREEDY: EVALUATIONS.validate_json(path.read_bytes())}
    return Run(result, {name: {point.step: point for point in curve} for name, curve in both.items()})


def over_seeds(values: Sequence[float]) -> Estimate:
    """Return the mean over seeds with Student's interval; with two seeds this would say nothing."""
    num = len(values)
    if num < MIN_SEEDS:
        return Estimate(fmean(values), -math.inf, math.inf, num)
    margin = float(t.ppf((1 + CONFIDENCE) / 2, num - 1)) * stdev(values) / math.sqrt(num)
    return Estimate(fmean(values), fmean(values) - margin, fmean(values) + margin, num)


def print_seeds(by_weight: Mapping[float, Sequence[Run]]) -> None:
    """Print a row for each run."""
    start, early, end = "start", f"step {EARLY}", "end"
    print_row("KL weight", "seed", *(f"{kind}, {when}" for kind in (SAMPLED, GREEDY) for when in (start, early, end)),
              "KL at the end", "best (step)", "over-optimised from")  # fmt: skip
    print_row(*["---"] * 11)
    for weight, runs in by_weight.items():
        for each in runs:
            found = each.result.overoptimisation
            last = each.result.config.num_steps
            grades = [grade(each, kind, step) for kind in (SAMPLED, GREEDY) for step in (0, EARLY, last)]
            divergence = each.curves[SAMPLED][last].kl
            best = f"{grade(each, SAMPLED, found.best_step):.3f} ({found.best_step})" if found else "-"
            verdict = f"step {found.sets_in}" if found and found.sets_in is not None else "within noise"
            print_row(f"{weight:g}", str(each.result.config.seed), *(f"{value:.3f}" for value in grades),
                      f"{divergence.value:.1f}" if divergence else "-", best, verdict)  # fmt: skip
    print()


def print_means(by_weight: Mapping[float, Sequence[Run]]) -> None:
    """Print the means over seeds."""
    names = ("start", f"step {EARLY}", "end", f"end less step {EARLY}", f"step {EARLY} less start", "end less start")
    print_row("KL weight", "measure", *names)
    print_row(*["---"] * (2 + len(names)))
    for weight, runs in by_weight.items():
        for name, value in measures().items():
            last = runs[0].result.config.num_steps
            start, early, end = ([value(each, step) for each in runs] for step in (0, EARLY, last))
            columns = [start, early, end, less(end, early), less(early, start), less(end, start)]
            print_row(f"{weight:g}", name, *(str(over_seeds(column)) for column in columns))


def measures() -> dict[str, Callable[[Run, int], float]]:
    """Return the measures by name."""
    return {
        "grade, sampled": lambda each, step: grade(each, SAMPLED, step),
        "grade, greedy": lambda each, step: grade(each, GREEDY, step),
        "reward, sampled": lambda each, step: each.curves[SAMPLED][step].reward.value,
        "reward, greedy": lambda each, step: each.curves[GREEDY][step].reward.value,
    }


def less(values: Sequence[float], others: Sequence[float]) -> list[float]:
    """Return the differences, seed by seed."""
    return [value - other for value, other in zip(values, others, strict=True)]


def grade(each: Run, kind: str, step: int) -> float:
    """Return the judge's mean grade."""
    found = each.curves[kind][step].grade
    assert found is not None  # the sandbox has a judge
    return found.value


def drawn(runs: Sequence[Run]) -> str:
    """Return the curves over seeds as SVG."""
    plot = curves(
        list(points(runs)), title="", caption="", x="step", y="", palette=Palette([SAMPLED, GREEDY]), shares_y=False
    )
    return vl_convert.vegalite_to_svg(dict(plot.chart))


def points(runs: Sequence[Run]) -> Iterator[Point]:
    """Yield the means at the steps that all seeds have."""
    for kind in (SAMPLED, GREEDY):
        for step in sorted(set[int].intersection(*(set(each.curves[kind]) for each in runs))):
            found = [each.curves[kind][step] for each in runs]
            panels = {
                "judge's grade": [grade(each, kind, step) for each in runs],
                "learned reward": [point.reward.value for point in found],
                "KL to the start, nats a reply": [point.kl.value for point in found if point.kl],
            }
            for panel, values in panels.items():
                if values:
                    yield Point(place=step, estimate=over_seeds(values), series=kind, panel=panel)


if __name__ == "__main__":
    main()
