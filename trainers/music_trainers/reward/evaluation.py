"""How well a model ranks held-out pairs."""

from collections.abc import Sequence

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn

from music.reward.tokens.contract import RewardStatistics
from music_trainers.reward.config import Objective
from music_trainers.reward.pairs.encoding import EncodedPair
from music_trainers.reward.records import HeldOutMetrics
from music_trainers.reward.step.distributed import deal_rows, plan_shared_rows
from music_trainers.reward.step.losses import bradley_terry_losses
from music_trainers.reward.step.objective import read_out
from music_trainers.reward.step.optimization import TrainingDivergedError
from music_trainers.reward.step.sharding import reshard

__all__ = ["evaluate"]


def evaluate(
    scorer: nn.Module,
    pairs: Sequence[EncodedPair],
    accelerator: Accelerator,
    *,
    objective: Objective,
    max_tokens: int,
) -> tuple[HeldOutMetrics, RewardStatistics]:
    """Rank held-out pairs; leaves the scorer in the mode it was in.

    Args:
        scorer: As accelerate prepared it.
        pairs: At least one.
        accelerator: Over whose processes the work is dealt.
        objective: Says how a conversation's reward is read out.
        max_tokens: Bound on the tokens of a row.

    Raises:
        TrainingDivergedError: A reward is no finite number.
    """
    was_training = scorer.training
    scorer.eval()
    rewards = _rewards(scorer, pairs, accelerator, objective, max_tokens)
    reshard(scorer)
    scorer.train(was_training)
    if num_broken := int((~rewards.isfinite()).sum()):
        raise TrainingDivergedError(f"{num_broken} of {rewards.numel()} held-out rewards are no finite numbers")
    chosen, rejected = rewards.unbind(1)
    metrics = HeldOutMetrics(
        num_pairs=len(pairs),
        accuracy=(chosen > rejected).double().mean().item(),
        nll=bradley_terry_losses(chosen, rejected).mean().item(),
        mean_margin=(chosen - rejected).mean().item(),
        num_ties=int((chosen == rejected).sum()),
    )
    std = rewards.std(correction=0).item()
    return metrics, RewardStatistics(mean=rewards.mean().item(), std=std, num_conversations=rewards.numel())


@torch.no_grad()
def _rewards(
    scorer: nn.Module, pairs: Sequence[EncodedPair], accelerator: Accelerator, objective: Objective, max_tokens: int
) -> Tensor:
    """Return the rewards of chosen and rejected sides, `[pairs, 2]` in fp64 on the CPU, on every process."""
    plan = plan_shared_rows([(p.chosen, p.rejected) for p in pairs], max_tokens, accelerator.num_processes)
    found: list[tuple[int, list[float]]] = []
    for dealt in deal_rows(plan.rows, accelerator.num_processes, accelerator.process_index):
        with accelerator.autocast():
            reads = dealt.row.split(scorer(dealt.row).cpu())
        if dealt.counts:
            scores = [read_out(objective, each).tolist() for each in reads]
            found += zip(dealt.row.groups, scores, strict=True)
    if accelerator.num_processes > 1:
        found = gather_object(found)
    return torch.tensor([scores for _, scores in sorted(found)], dtype=torch.float64)
