"""One optimizer step: the same whatever the micro-batches, and whatever the number of processes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from transformers import PreTrainedModel

from music.errors import MusicError
from music.reward.attention import choose_backend
from music.reward.scoring.forward import PackedScorer
from music.reward.scoring.self_test import settle_backend
from music_trainers.precision import StatesPolicy, make_optimizer
from music_trainers.reward.accounting import PackingAccounting
from music_trainers.reward.config import RewardTrainingConfig
from music_trainers.reward.pairs.encoding import EncodedPair
from music_trainers.reward.pairs.groups import PairGroup, group_by_chosen, group_by_seed
from music_trainers.reward.step.distributed import deal_rows, plan_shared_rows, synchronised
from music_trainers.reward.step.objective import num_comparisons, row_loss
from music_trainers.reward.step.routers import RouterBalance
from music_trainers.reward.step.sharding import settle_backend_of_shards, shard
from music_trainers.reward.step.unread import unread_left_out

__all__ = ["PairOptimizer", "StepOutcome", "TrainingDivergedError", "learning_rate_at"]


_MICRO_BATCH_TOKENS = {"cpu": 2048, "cuda": 8192}


class TrainingDivergedError(MusicError):
    """Loss, gradient or rewards are no finite numbers, or the loss has grown far beyond what it was."""


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """What one optimizer step saw, before its update.

    Attributes:
        loss: Mean over the step's pairs, or over its groups if these are ranked; without an auxiliary loss.
        accuracy: Share of pairs whose chosen side scored higher.
        grad_norm: Before clipping.
        packing: What packing came to.
    """

    loss: float
    accuracy: float
    grad_norm: float
    packing: PackingAccounting


def learning_rate_at(step: int, num_steps: int, config: RewardTrainingConfig) -> float:
    """Return the rate of a step (from 0): linear from 0 up to the peak, then as the scheduler has it."""
    warmup = math.ceil(num_steps * config.warmup_fraction)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, num_steps - warmup)
    left = {"cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done, "constant": 1.0}
    return config.learning_rate * left[config.scheduler]


class PairOptimizer:
    """AdamW over the weights of a classifier that are to be trained; computes in bf16 where the accelerator does.

    Attributes:
        classifier: The model.
        scorer: The model as it reads packed rows, wrapped for several processes.
        optimizer: Of its trained weights.
        max_tokens: Bound on the tokens of one forward pass.
    """

    def __init__(self, classifier: PreTrainedModel, accelerator: Accelerator, config: RewardTrainingConfig) -> None:
        named = [(name, weight) for name, weight in classifier.named_parameters() if weight.requires_grad]
        # Of a sharded model, the head comes to the optimizer by itself.
        weights = [weight for name, weight in named if not (accelerator.is_fsdp2 and name.startswith("score."))]
        optimizer = make_optimizer(
            weights,
            StatesPolicy.FP32 if config.lora_rank else config.states,  # adapters and head are fp32
            lr=0.0,
            betas=(config.adam_beta1, config.adam_beta2),
            weight_decay=config.weight_decay,
            seed=config.seed,
        )
        if not accelerator.is_fsdp2:  # which takes shards to their devices
            classifier.to(accelerator.device)
        scorer = PackedScorer(classifier, choose_backend(accelerator.device))
        if accelerator.is_fsdp2:  # whose weights are shards, and whose forward passes are everybody's
            settle_backend_of_shards(accelerator, scorer)
        # FSDP looks here for the layers that it wraps.
        scorer._no_split_modules = classifier._no_split_modules  # type: ignore[assignment]
        self.classifier = classifier
        self.scorer: nn.Module
        self.optimizer: Any
        if accelerator.is_fsdp2:
            self.scorer, self.optimizer = shard(accelerator, scorer, optimizer)
        else:
            self.scorer, self.optimizer = accelerator.prepare(scorer, optimizer)
            with accelerator.autocast():
                settle_backend(scorer)
        self._routers = RouterBalance.of(classifier, config)
        self.max_tokens = config.micro_batch_tokens or _MICRO_BATCH_TOKENS[accelerator.device.type]
        self._accelerator = accelerator
        self._config = config

    def step(self, batch: Sequence[EncodedPair], learning_rate: float) -> StepOutcome:
        """Accumulate the gradient of the batch's mean loss over packed rows, then update once.

        Raises:
            TrainingDivergedError: Loss or gradient is not finite; the weights are as before the step.
        """
        self.optimizer.zero_grad()
        groups = self._groups(batch)
        loss, num_correct, packing = self._accumulate(groups)
        grad_norm = float(self._accelerator.clip_grad_norm_(self.scorer.parameters(), self._config.max_grad_norm))
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            raise TrainingDivergedError(f"loss {loss}, gradient norm {grad_norm}")
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        return StepOutcome(loss, num_correct / len(batch), grad_norm, packing)

    def _groups(self, batch: Sequence[EncodedPair]) -> list[PairGroup]:
        if self._config.objective.ranking == "groups":
            return group_by_chosen(batch)
        return group_by_seed(batch, self.max_tokens)

    def _accumulate(self, groups: Sequence[PairGroup]) -> tuple[float, int, PackingAccounting]:
        """Add up the gradients of this process's rows; return loss and count over all processes, and the packing."""
        accelerator, objective = self._accelerator, self._config.objective
        num_processes = accelerator.num_processes
        sequences = [group.sequences() for group in groups]
        plan = plan_shared_rows(sequences, self.max_tokens, num_processes)
        share = deal_rows(plan.rows, num_processes, accelerator.process_index)
        sums = torch.zeros(2, device=accelerator.device)
        for dealt in share:
            is_last = dealt is share[-1]
            with synchronised(accelerator, self.scorer, is_last), unread_left_out(self.classifier, dealt.row):
                with accelerator.autocast(), self._routers.reading() as logits:
                    rewards = self.scorer(dealt.row)
                members = [groups[i] for i in dealt.row.groups]
                outcome = row_loss(objective, members, dealt.row.split(rewards))
                # Processes average their gradients, so that each row's part of the mean stands `num_processes` times.
                share_of_mean = dealt.counts / num_comparisons(objective, groups)
                aux = self._routers.loss(logits, dealt.row.num_tokens) * dealt.counts * dealt.row.num_tokens
                loss = outcome.total * share_of_mean + aux / plan.num_tokens
                accelerator.backward(loss * num_processes)
            sums += dealt.counts * torch.stack([outcome.total.detach() * share_of_mean, outcome.num_correct.float()])
        mean_loss, num_correct = self._total(sums).tolist()
        longest = max(row.num_tokens for row in plan.rows)
        packing = PackingAccounting(
            num_sequence_tokens=plan.num_sequence_tokens,
            num_tokens=plan.num_tokens,
            num_slots=longest * len(plan.rows),
        )
        return mean_loss, round(num_correct), packing

    def _total(self, sums: Tensor) -> Tensor:
        total: Tensor = self._accelerator.reduce(sums, "sum")
        return total
