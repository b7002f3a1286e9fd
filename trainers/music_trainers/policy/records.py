"""The results of policy training."""

from pydantic import BaseModel, ConfigDict

from music.statistics import Estimate, paired_difference
from music_trainers.policy.config import PolicyTrainingConfig

__all__ = ["Overoptimisation", "PolicyEvaluation", "PolicyTrainingResult"]


class PolicyEvaluation(BaseModel):
    """The policy on the held-out episodes, which are the same at every evaluation.

    Attributes:
        step: Steps of training so far.
        rewards: Reward of each episode, as the policy learns from it: the mean over its turns if every reply is
            rewarded, else the conversation's reward.
        grades: The judge's grade of each episode; None without a judge.
        kl: Estimate of the divergence from the starting policy, in nats per reply; None for greedy replies.
        reply_tokens: Mean length of a reply.
        num_failed: Episodes that ended with an error; they are left out.
    """

    model_config = ConfigDict(frozen=True)

    step: int
    reward: Estimate
    grade: Estimate | None
    kl: Estimate | None
    reply_tokens: float
    num_failed: int
    rewards: tuple[float, ...]
    grades: tuple[float, ...] | None

    def gain_over(self, other: "PolicyEvaluation") -> Estimate | None:
        """Return the grades minus those of another evaluation, paired by episode; None if an episode is missing."""
        if self.grades is None or other.grades is None or self.num_failed or other.num_failed:
            return None
        return paired_difference(self.grades, other.grades)


class Overoptimisation(BaseModel):
    """The step with the judge's best grade, and whether grades fell afterwards.

    Attributes:
        best_step: The step with the highest grade. As it is picked, its grade is slightly too high.
        sets_in: The first step from which every grade is below the best beyond noise; None if there is none.
        loss: The last grade minus the best, paired by episode; None if the last is the best or episodes failed.
    """

    model_config = ConfigDict(frozen=True)

    best_step: int
    sets_in: int | None
    loss: Estimate | None


class PolicyTrainingResult(BaseModel):
    """The result of a run, `result.json`.

    Attributes:
        curve: Evaluations with sampled replies, from the starting policy (step 0) to the last step.
        greedy_before: The starting policy with greedy replies: the grade that sharpening alone can reach.
        greedy_after: The trained policy with greedy replies.
        overoptimisation: Whether the reward was over-optimised; None without a judge.
        seconds: Duration of the whole run, with its evaluations.
    """

    model_config = ConfigDict(frozen=True)

    config: PolicyTrainingConfig
    curve: tuple[PolicyEvaluation, ...]
    greedy_before: PolicyEvaluation
    greedy_after: PolicyEvaluation
    overoptimisation: Overoptimisation | None
    seconds: float


def find_overoptimisation(curve: tuple[PolicyEvaluation, ...]) -> Overoptimisation | None:
    """Find the best grade in a curve, and the step from which grades stay below it beyond noise."""
    graded = [point for point in curve if point.grade is not None]
    if not graded:
        return None
    best = max(graded, key=lambda point: point.grade.value if point.grade else 0.0)
    later = [(point.step, point.gain_over(best)) for point in graded if point.step > best.step]
    sets_in = None
    for step, gap in reversed(later):
        if gap is None or gap.high >= 0:
            break
        sets_in = step
    return Overoptimisation(best_step=best.step, sets_in=sets_in, loss=later[-1][1] if later else None)
