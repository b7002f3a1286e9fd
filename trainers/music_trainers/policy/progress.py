"""A run of policy training as people follow it, and what it came to, in words."""

from music.statistics import Estimate, describe, paired_difference
from music_trainers.policy.records import PolicyEvaluation, PolicyTrainingResult

__all__ = ["format_evaluation", "format_policy_result"]


def format_evaluation(point: PolicyEvaluation) -> str:
    """Write an evaluation in one line."""
    parts = [f"reward {point.reward}"]
    parts += [f"judge {point.grade}"] if point.grade else []
    parts += [f"KL {point.kl.value:.2f} nats a reply"] if point.kl else []
    parts += [f"{point.reply_tokens:.1f} tokens a reply"]
    parts += [f"{point.num_failed} episodes failed"] if point.num_failed else []
    return ", ".join(parts)


def format_policy_result(result: PolicyTrainingResult) -> str:
    """Write what a run came to in a few lines."""
    start, end = result.curve[0], result.curve[-1]
    lines = [f"{result.config.num_steps} steps, {result.seconds:.0f} s; held-out episodes:"]
    for name, first, last in (("sampled", start, end), ("greedy", result.greedy_before, result.greedy_after)):
        lines += [f"{name}, before: {format_evaluation(first)}", f"{name}, after:  {format_evaluation(last)}"]
        if (gain := _gain(first, last)) is not None:
            lines.append(f"{name}, judge's gain: {describe(gain)}")
    return "\n".join([*lines, *_overoptimised(result), f"saved to {result.config.out}"])


def _gain(first: PolicyEvaluation, last: PolicyEvaluation) -> Estimate | None:
    """Return the judge's gain, paired by episode; None where an episode is missing."""
    if first.grades is None or last.grades is None or first.num_failed or last.num_failed:
        return None
    return paired_difference(last.grades, first.grades)


def _overoptimised(result: PolicyTrainingResult) -> list[str]:
    found = result.overoptimisation
    if found is None:
        return []
    if found.sets_in is None:
        return [f"over-optimisation: none beyond noise; the judge's best is step {found.best_step}"]
    lost = f"; the last step is {found.loss} from the best" if found.loss else ""
    return [f"over-optimisation: from step {found.sets_in} on below the judge's best, step {found.best_step}{lost}"]
