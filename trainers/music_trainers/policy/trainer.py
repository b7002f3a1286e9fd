"""`TurnTrainer`: TRL's GRPO on episodes of a chat environment, with an advantage for every turn."""

import math
import warnings
from collections.abc import Sequence
from functools import partial
from statistics import fmean
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
from trl.models.utils import unwrap_model_for_generation
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from music.errors import InvalidInputError
from music_envs import ChatVectorEnv
from music_envs.credit import USER, token_advantages, turn_advantages
from music_trainers.policy.config import PolicyTrainingConfig
from music_trainers.policy.evaluation import require_reward_somewhere
from music_trainers.policy.rollouts import ChatTokens, Trajectory, pad, roll_out, sample_replies

__all__ = ["TurnTrainer"]


class TurnTrainer(GRPOTrainer):
    """GRPO whose rollouts are episodes, with an advantage for each turn instead of each completion.

    A row of TRL's data set is the seed of an episode. `rollout_func` plays the episodes, with the user's tokens masked
    (`env_mask`); the advantages then have the shape `[completions, tokens]`, which TRL allows subclasses.

    Args:
        config: The settings of the run.
        env: One environment for each conversation that this process plays in a step.
        model: The policy.
        tokenizer: The policy's tokenizer.
        tokens: The policy's chat template.
        seeds: Seeds of the users, one for each group, in order.
        callbacks: Callbacks of `transformers.Trainer`.

    Raises:
        InvalidInputError: There are several processes.
    """

    def __init__(
        self,
        config: PolicyTrainingConfig,
        env: ChatVectorEnv,
        model: Any,
        tokenizer: Any,
        tokens: ChatTokens,
        seeds: Sequence[int],
        callbacks: Sequence[TrainerCallback] = (),
    ) -> None:
        self._config, self._env, self._chat = config, env, tokens
        self._played: list[Trajectory] = []
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="You are using 'rollout_func'")
            super().__init__(
                model=model,
                args=_arguments(config),
                reward_funcs=mean_reward,
                rollout_func=self._roll_out,
                train_dataset=Dataset.from_dict({"prompt": [str(seed) for seed in seeds]}),
                processing_class=tokenizer,
                callbacks=list(callbacks),
            )
        self.remove_callback(PrinterCallback)  # it writes to stdout
        if self.accelerator.num_processes > 1:
            raise InvalidInputError(
                f"expected one process, got {self.accelerator.num_processes}: start it without a launcher"
            )

    def _roll_out(self, prompts: list[str], trainer: GRPOTrainer) -> dict[str, Any]:
        """Play the episodes whose seeds TRL passes as prompts."""
        with unwrap_model_for_generation(self.model_wrapped, self.accelerator) as model:
            generate = partial(sample_replies, model, self._chat, max_tokens=self._config.max_reply_tokens)
            self._played = roll_out(self._env, self._chat, generate, [int(prompt) for prompt in prompts])
        require_reward_somewhere(self._played)
        return {
            "prompt_ids": [row.prompt_ids for row in self._played],
            "completion_ids": [row.completion_ids for row in self._played],
            "env_mask": [[int(turn != USER) for turn in row.turns] for row in self._played],
            "logprobs": None,
            "turn_rewards": [row.rewards for row in self._played],
        }

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Replace the advantage of each completion by the advantages of its turns."""
        output = super()._generate_and_score_completions(inputs)
        rewards = [row.rewards for row in self._played]
        by_turn = turn_advantages(rewards, self._config.group_size, self._config.discount)
        by_token = pad(token_advantages(by_turn, [row.turns for row in self._played]), 0.0)  # [completions, tokens]
        output["advantages"] = by_token.to(output["advantages"])
        return output


def mean_reward(*, turn_rewards: list[list[float]], **_: Any) -> list[float | None]:
    """Return the mean over the turns, which TRL logs; the policy does not learn from it."""
    return [None if math.isnan(rewards[-1]) else fmean(rewards) for rewards in turn_rewards]


def _arguments(config: PolicyTrainingConfig) -> GRPOConfig:
    """Return the run's settings as TRL's config."""
    per_update = config.num_episodes // config.updates_per_step
    # The largest allowed size that divides an update.
    size = next(size for size in range(min(config.micro_batch_size, per_update), 0, -1) if per_update % size == 0)
    has_cuda = torch.cuda.is_available()
    return GRPOConfig(
        output_dir=str(config.out),
        per_device_train_batch_size=size,
        gradient_accumulation_steps=per_update // size,
        steps_per_generation=config.num_episodes // size,
        num_generations=config.group_size,
        max_steps=config.num_steps * config.updates_per_step,
        max_completion_length=config.max_reply_tokens * config.num_turns,
        learning_rate=config.rate,
        lr_scheduler_type="constant",
        beta=config.kl_weight,
        temperature=1.0,
        shuffle_dataset=False,
        bf16=has_cuda,
        use_cpu=not has_cuda,
        gradient_checkpointing=has_cuda,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        logging_steps=config.updates_per_step,
        seed=config.seed,
    )
