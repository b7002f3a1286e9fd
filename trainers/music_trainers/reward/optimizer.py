"""`PairOptimizer`: one optimizer step on pairs, and the metrics of held-out pairs.

The size of the micro-batches and the number of processes change the result by rounding only.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer
from transformers import PreTrainedModel

from music.errors import MusicError
from music.reward.attention import choose_backend
from music.reward.packing import RowPlan, TokenSequence
from music.reward.scoring.forward import PackedScorer
from music.reward.scoring.self_test import settle_backend
from music.reward.tokens.contract import RewardStatistics
from music_trainers.precision import StatesPolicy, make_optimizer
from music_trainers.reward.config import RewardTrainingConfig
from music_trainers.reward.distributed import (
    AssignedRow,
    assign_rows,
    plan_even_rows,
    reshard,
    settle_backend_of_shards,
    shard,
    synchronised,
)
from music_trainers.reward.hooks import RouterBalance, skip_unread_tokens
from music_trainers.reward.losses import bradley_terry_losses, num_comparisons, read_out, row_loss
from music_trainers.reward.pairs import EncodedPair, PairGroup, group_by_chosen, group_by_seed
from music_trainers.reward.records import HeldOutMetrics, PackingAccounting

__all__ = ["PairOptimizer", "StepOutcome", "TrainingDivergedError", "held_out_metrics", "learning_rate_at"]

_MICRO_BATCH_TOKENS = {"cpu": 2048, "cuda": 8192}


class TrainingDivergedError(MusicError):
    """Loss, gradient or rewards are not finite, or the loss is far above what it was."""


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """The figures of one optimizer step, before its update.

    Attributes:
        loss: Mean over the step's pairs, or over its groups if groups are ranked; without the auxiliary loss.
        accuracy: Share of pairs whose chosen side scored higher.
        grad_norm: Norm of the gradient before clipping.
        packing: Tokens that packing saved in the step.
    """

    loss: float
    accuracy: float
    grad_norm: float
    packing: PackingAccounting


def learning_rate_at(step: int, num_steps: int, config: RewardTrainingConfig) -> float:
    """Return the rate of a step (from 0): linear from 0 to the peak, then as the scheduler says.

    transformers' schedules are one step behind during the warm-up: their first step has rate 0 and trains nothing.
    """
    warmup = math.ceil(num_steps * config.warmup_fraction)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, num_steps - warmup)
    left = {"cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done, "constant": 1.0}
    return config.learning_rate * left[config.scheduler]


class PairOptimizer:
    """AdamW over the trained weights of a classifier; it computes in bf16 if the accelerator does.

    Attributes:
        classifier: The model.
        scorer: The model that scores packed rows, wrapped for several processes.
        optimizer: The optimizer of its trained weights.
        max_tokens: Largest number of tokens in one forward pass.
    """

    def __init__(self, classifier: PreTrainedModel, accelerator: Accelerator, config: RewardTrainingConfig) -> None:
        named = [(name, weight) for name, weight in classifier.named_parameters() if weight.requires_grad]
        # The head of a sharded model is added to the optimizer by `shard`.
        weights = [weight for name, weight in named if not (accelerator.is_fsdp2 and name.startswith("score."))]
        optimizer = make_optimizer(
            weights,
            StatesPolicy.FP32 if config.lora_rank else config.states,  # adapters and head are fp32
            lr=0.0,
            betas=(config.adam_beta1, config.adam_beta2),
            weight_decay=config.weight_decay,
            seed=config.seed,
        )
        self.classifier = classifier
        self.scorer: nn.Module
        self.optimizer: Any
        self.scorer, self.optimizer = _placed(classifier, accelerator, optimizer)
        self.max_tokens = config.micro_batch_tokens or _MICRO_BATCH_TOKENS[accelerator.device.type]
        self._routers = RouterBalance.of(classifier, config)
        self._accelerator = accelerator
        self._config = config

    def step(self, batch: Sequence[EncodedPair], learning_rate: float) -> StepOutcome:
        """Accumulate the gradient of the batch's mean loss over packed rows, then update once.

        Raises:
            TrainingDivergedError: Loss or gradient is not finite; the weights are unchanged.
        """
        self.optimizer.zero_grad()
        if self._config.objective.ranking == "groups":
            groups = group_by_chosen(batch)
        else:
            groups = group_by_seed(batch, self.max_tokens)
        loss, num_correct, packing = self._accumulate(groups)
        grad_norm = float(self._accelerator.clip_grad_norm_(self.scorer.parameters(), self._config.max_grad_norm))
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            raise TrainingDivergedError(f"loss {loss}, gradient norm {grad_norm}")
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        return StepOutcome(loss, num_correct / len(batch), grad_norm, packing)

    def _accumulate(self, groups: Sequence[PairGroup]) -> tuple[float, int, PackingAccounting]:
        """Add up the gradients of this process's rows; return loss and count over all processes, and the packing."""
        accelerator, objective = self._accelerator, self._config.objective
        plan, rows = self._plan([group.sequences() for group in groups])
        sums = torch.zeros(2, device=accelerator.device)
        for each in rows:
            row, is_last = each.row, each is rows[-1]
            with synchronised(accelerator, self.scorer, is_last), skip_unread_tokens(self.classifier, row):
                with accelerator.autocast(), self._routers.reading() as logits:
                    rewards = self.scorer(row)
                outcome = row_loss(objective, [groups[i] for i in row.groups], row.split(rewards))
                share_of_mean = each.counts / num_comparisons(objective, groups)
                aux = self._routers.loss(logits, row.num_tokens) * each.counts * row.num_tokens
                loss = outcome.total * share_of_mean + aux / plan.num_tokens
                # Processes average their gradients, so each row's part of the mean is multiplied by their number.
                accelerator.backward(loss * accelerator.num_processes)
            sums += each.counts * torch.stack([outcome.total.detach() * share_of_mean, outcome.num_correct.float()])
        total: Tensor = accelerator.reduce(sums, "sum")
        mean_loss, num_correct = total.tolist()
        packing = PackingAccounting(
            num_sequence_tokens=plan.num_sequence_tokens,
            num_tokens=plan.num_tokens,
            num_slots=max(row.num_tokens for row in plan.rows) * len(plan.rows),
        )
        return mean_loss, round(num_correct), packing

    def evaluate(self, pairs: Sequence[EncodedPair]) -> tuple[HeldOutMetrics, RewardStatistics]:
        """Return the metrics of at least one held-out pair, and the statistics of the rewards.

        Raises:
            TrainingDivergedError: A reward is not a finite number.
        """
        was_training = self.scorer.training
        self.scorer.eval()
        rewards = self._rewards(pairs)
        reshard(self.scorer)
        self.scorer.train(was_training)
        return held_out_metrics(rewards)

    @torch.no_grad()
    def _rewards(self, pairs: Sequence[EncodedPair]) -> Tensor:
        """Return the rewards of chosen and rejected sides, `[pairs, 2]` in fp64 on the CPU, on every process."""
        found: list[tuple[int, list[float]]] = []
        for each in self._plan([(pair.chosen, pair.rejected) for pair in pairs])[1]:
            with self._accelerator.autocast():
                reads = each.row.split(self.scorer(each.row).cpu())
            if each.counts:
                rewards = [read_out(self._config.objective, read).tolist() for read in reads]
                found += zip(each.row.groups, rewards, strict=True)
        if self._accelerator.num_processes > 1:
            found = gather_object(found)
        return torch.tensor([rewards for _, rewards in sorted(found)], dtype=torch.float64)

    def _plan(self, groups: Sequence[Sequence[TokenSequence]]) -> tuple[RowPlan, list[AssignedRow]]:
        """Pack groups of sequences into rows; return all rows, and those of this process."""
        num_processes: int = self._accelerator.num_processes
        plan = plan_even_rows(groups, self.max_tokens, num_processes)
        return plan, assign_rows(plan.rows, num_processes, self._accelerator.process_index)


def held_out_metrics(rewards: Tensor) -> tuple[HeldOutMetrics, RewardStatistics]:
    """Return the metrics of held-out pairs, and the statistics of their rewards.

    Args:
        rewards: Rewards of chosen and rejected sides, `[pairs, 2]` in fp64, of at least one pair.

    Raises:
        TrainingDivergedError: A reward is not a finite number.
    """
    if num_broken := int((~rewards.isfinite()).sum()):
        raise TrainingDivergedError(f"{num_broken} of {rewards.numel()} held-out rewards are not finite numbers")
    chosen, rejected = rewards.unbind(1)
    metrics = HeldOutMetrics(
        num_pairs=len(rewards),
        accuracy=(chosen > rejected).double().mean().item(),
        nll=bradley_terry_losses(chosen, rejected).mean().item(),
        mean_margin=(chosen - rejected).mean().item(),
        num_ties=int((chosen == rejected).sum()),
    )
    std = rewards.std(correction=0).item()
    return metrics, RewardStatistics(mean=rewards.mean().item(), std=std, num_conversations=rewards.numel())


def _placed(classifier: PreTrainedModel, accelerator: Accelerator, optimizer: Optimizer) -> tuple[nn.Module, Any]:
    """Return the scorer of a classifier and the optimizer, on their devices and wrapped for several processes."""
    if not accelerator.is_fsdp2:  # FSDP moves shards to their devices
        classifier.to(accelerator.device)
    scorer = PackedScorer(classifier, choose_backend(accelerator.device))
    if accelerator.is_fsdp2:
        settle_backend_of_shards(accelerator, scorer)
    # FSDP looks here for the layers that it wraps.
    scorer._no_split_modules = classifier._no_split_modules  # type: ignore[assignment]
    if accelerator.is_fsdp2:
        return shard(accelerator, scorer, optimizer)
    prepared: tuple[nn.Module, Any] = accelerator.prepare(scorer, optimizer)
    with accelerator.autocast():
        settle_backend(scorer)
    return prepared
