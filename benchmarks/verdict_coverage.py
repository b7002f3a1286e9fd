"""False alarms and power of the over-optimisation verdict of `music rl`: `python -m benchmarks.verdict_coverage`.

Prints Markdown. The first table has simulated runs whose grades do not fall: the share that the verdict calls
over-optimised, and the share that a plain rule calls so, which picks the best evaluation and looks whether the 95 %
interval of the last less the best is below 0. The second table has runs whose grades fall from their middle on.

Grades are in [0, 1]; their means and spreads are those of the runs in docs/rl.md. Evaluations are correlated, as they
have the same users.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.contrast_tables import print_row
from music.statistics import Estimate, proportion
from music_trainers.policy.records import PolicyEvaluation, find_overoptimisation

Floats = NDArray[np.float64]
LEVEL, SPREAD = 0.78, 0.17

KINDS: Mapping[str, Callable[[Floats], Floats]] = {
    "rounded to eighths": lambda latent: np.round(8 * np.clip(latent, 0, 1)) / 8,
    "right or wrong": lambda latent: (latent > LEVEL - SPREAD).astype(np.float64),
}
"""How the judge grades."""


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num", type=int, default=1000, help="Runs for each row.")
    num = parser.parse_args().num
    print_row("runs that do not fall", "episodes", "correlation", "grades", "false alarms", "by the plain rule")
    print_row(*["---"] * 6)
    for means in (flat(5), flat(13), [0.52, 0.7, *flat(11)]):
        for episodes in (30, 200):
            for correlation in (0.0, 0.5):
                for kind in KINDS:
                    runs = simulated(means, episodes, correlation, kind, num)
                    name = f"{len(means)} evaluations{', rising first' if means[0] < LEVEL else ''}"
                    print_row(name, str(episodes), f"{correlation:g}", kind, *shares(runs))
    print()
    print_row("runs that fall by", "episodes", "correlation", "grades", "found", "by the plain rule")
    print_row(*["---"] * 6)
    for loss in (0.02, 0.04, 0.06, 0.1):
        means = [0.52, 0.7, *flat(4), *(LEVEL - loss * i / 7 for i in range(1, 8))]
        runs = simulated(means, 200, 0.5, "rounded to eighths", num)
        print_row(f"{loss:g}", "200", "0.5", "rounded to eighths", *shares(runs))


def flat(num: int) -> list[float]:
    """Return the means of evaluations that are equally good."""
    return [LEVEL] * num


def simulated(means: Sequence[float], episodes: int, correlation: float, kind: str, num: int) -> list[Floats]:
    """Return grades, shape `[evaluations, episodes]` each."""
    rng = np.random.default_rng(0)
    size = (num, len(means), episodes)
    noise = np.sqrt(1 - correlation) * rng.normal(size=size) + np.sqrt(correlation) * rng.normal(
        size=(num, 1, episodes)
    )
    return list(KINDS[kind](np.array(means)[:, None] + SPREAD * noise))


def shares(runs: Sequence[Floats]) -> list[str]:
    """Return the shares of runs that the verdict and the plain rule call over-optimised."""
    return [str(proportion([float(rule(run)) for run in runs])) for rule in (by_verdict, by_plain_rule)]


def by_verdict(grades: Floats) -> bool:
    """Return whether `music rl` calls a run over-optimised."""
    found = find_overoptimisation([evaluation(step, row) for step, row in enumerate(grades)])
    return found is not None and found.sets_in is not None


def by_plain_rule(grades: Floats) -> bool:
    """Return whether the last evaluation is below the best by their own interval."""
    gaps = grades[-1] - grades[grades.mean(axis=1).argmax()]
    return bool(gaps.mean() + 1.96 * gaps.std(ddof=1) / np.sqrt(len(gaps)) < 0)


def evaluation(step: int, grades: Floats) -> PolicyEvaluation:
    """Return an evaluation with these grades."""
    unused = Estimate(0.0, 0.0, 0.0, len(grades))
    values = tuple(grades.tolist())
    return PolicyEvaluation(
        step=step, reward=unused, grade=unused, kl=None, reply_tokens=0.0, num_failed=0, rewards=values, grades=values
    )


if __name__ == "__main__":
    main()
