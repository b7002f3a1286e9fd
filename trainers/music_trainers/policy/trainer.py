"""`TurnTrainer`: TRL's GRPO on episodes of a chat environment, with an advantage for every turn."""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
from trl.models.utils import unwrap_model_for_generation
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from music.errors import InvalidInputError
from music.quiet import quiet_transformers
from music_envs import ChatVectorEnv
from music_envs.adapters.trl.trainer import TurnLevelGRPOTrainer
from music_envs.credit import USER
from music_trainers.policy.chat_tokens import ChatTokens
from music_trainers.policy.config import PolicyTrainingConfig
from music_trainers.policy.evaluation import require_reward_somewhere
from music_trainers.policy.rollouts import PLAY_ON, EpisodeRules, Trajectory, roll_out
from music_trainers.policy.sampling import sample_replies
from music_trainers.policy.server import ServerReplies, at_start, require_context, while_generating

__all__ = ["TurnTrainer"]

SHARD = "256MB"
SMALL_MODEL = 100_000_000
"""Models of up to this many parameters keep their activations on the CPU, which is faster; others recompute them."""


class TurnTrainer(TurnLevelGRPOTrainer):
    """GRPO whose rollouts are episodes of `ChatVectorEnv`, with an advantage for each turn.

    A row of TRL's data set is the seed of an episode. `rollout_func` plays the episodes, with the user's tokens masked
    (`env_mask`).

    Args:
        config: The settings of the run.
        env: One environment for each conversation that this process plays in a step.
        model: The policy.
        tokenizer: The policy's tokenizer.
        tokens: The policy's chat template.
        seeds: Seeds of the users, one for each group, in order.
        rules: When episodes end early.

    Attributes:
        played: The episodes of the last step.
        is_updating: Whether the weights change: from the end of a step's rollouts to its last update. At all other
            times `save_state` saves the state after the last whole step.

    Raises:
        InvalidInputError: There are several processes, or the vLLM server cannot be used.
        OutageError: There is no vLLM server.
    """

    def __init__(
        self,
        config: PolicyTrainingConfig,
        env: ChatVectorEnv,
        model: Any,
        tokenizer: Any,
        tokens: ChatTokens,
        seeds: Sequence[int],
        rules: EpisodeRules = PLAY_ON,
    ) -> None:
        self._config, self._env, self._chat = config, env, tokens
        is_asynchronous = config.rollouts == "asynchronous"
        num = config.min_finished if is_asynchronous else 1.0
        self._rules = replace(rules, is_asynchronous=is_asynchronous, min_finished=num)
        self._folder = config.out
        self.played: list[Trajectory] = []
        self.is_updating = False
        with warnings.catch_warnings(), quiet_transformers(), at_start(config.vllm_server):
            warnings.filterwarnings("ignore", message="You are using 'rollout_func'")
            super().__init__(
                model=model,
                args=_arguments(config, model, tokens),
                reward_funcs=mean_reward,
                rollout_func=self._roll_out,
                train_dataset=Dataset.from_dict({"prompt": [str(seed) for seed in seeds]}),
                processing_class=tokenizer,
                callbacks=[_StepEnd(self)],
                discount=config.discount,
            )
            if config.vllm_server is not None:
                require_context(self, rules.max_prompt_tokens)
        self.remove_callback(PrinterCallback)  # it writes to stdout
        if self.accelerator.num_processes > 1:
            raise InvalidInputError(
                f"expected one process, got {self.accelerator.num_processes}: start it without a launcher"
            )

    @property
    def step(self) -> int:
        """The number of whole steps of training; TRL counts optimizer steps."""
        return int(self.state.global_step) // self._config.updates_per_step

    def save_state(self, folder: Path) -> None:
        """Save weights, optimizer and generators as transformers does, for `train(resume_from_checkpoint=folder)`."""
        self._folder = folder
        with quiet_transformers():
            self._save_checkpoint(self.model, trial=None)  # type: ignore[no-untyped-call]
        (saved,) = folder.iterdir()
        for path in saved.iterdir():
            path.rename(folder / path.name)
        saved.rmdir()

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write none: TRL writes one for every checkpoint."""

    def _save(self, output_dir: Any = None, state_dict: Any = None) -> None:
        """Write the weights in shards: safetensors copies what it writes into memory first."""
        model: Any = self.model
        model.save_pretrained(output_dir, state_dict=state_dict, max_shard_size=SHARD)

    def _get_output_dir(self, trial: Any) -> str:
        """Return the folder in which transformers saves a checkpoint."""
        return str(self._folder)

    def _roll_out(self, prompts: list[str], trainer: GRPOTrainer) -> dict[str, Any]:
        """Play the episodes whose seeds TRL passes as prompts."""
        seeds = [int(prompt) for prompt in prompts]
        server = ServerReplies(self) if self.use_vllm else None
        if server is not None:
            self.played = roll_out(self._env, self._chat, server, seeds, self._rules)
        else:
            with unwrap_model_for_generation(self.model_wrapped, self.accelerator) as model:
                generate = partial(sample_replies, model, self._chat, max_tokens=self._config.max_reply_tokens)
                self.played = roll_out(self._env, self._chat, generate, seeds, self._rules)
        require_reward_somewhere(self.played)
        return {
            "prompt_ids": [row.prompt_ids for row in self.played],
            "completion_ids": [row.completion_ids for row in self.played],
            "env_mask": [[int(turn != USER) for turn in row.turns] for row in self.played],
            "logprobs": server and [server.logprobs(row) for row in self.played],
            "turn_rewards": [row.rewards for row in self.played],
            "token_turns": [row.turns for row in self.played],
        }

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Play the episodes of a step, whose updates follow."""
        with _rewound_on_error(), while_generating(self._config.vllm_server):
            output = super()._generate_and_score_completions(inputs)
            self.is_updating = True
        return output


class _StepEnd(TrainerCallback):
    """Notes the last update of a step, before other callbacks learn of it."""

    def __init__(self, trainer: TurnTrainer) -> None:
        self._trainer = trainer

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note the end of a step."""
        if state.global_step % (args.steps_per_generation // args.gradient_accumulation_steps) == 0:
            self._trainer.is_updating = False


@contextmanager
def _rewound_on_error() -> Iterator[None]:
    """Set torch's generators back if the block raises, so that the same draws follow when it is tried again."""
    cpu, cuda = torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        yield
    except BaseException:
        torch.set_rng_state(cpu)
        torch.cuda.set_rng_state_all(cuda)
        raise


def mean_reward(*, turn_rewards: list[list[float]], **_: Any) -> list[float | None]:
    """Return the mean over the turns, which TRL logs; the policy does not learn from it."""
    return [None if math.isnan(rewards[-1]) else fmean(rewards) for rewards in turn_rewards]


def _arguments(config: PolicyTrainingConfig, model: Any, tokens: ChatTokens) -> GRPOConfig:
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
        gradient_checkpointing=has_cuda or model.num_parameters() > SMALL_MODEL,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        logging_steps=config.updates_per_step,
        seed=config.seed,
        **_server_arguments(config, tokens),
    )


def _server_arguments(config: PolicyTrainingConfig, tokens: ChatTokens) -> dict[str, Any]:
    """Return TRL's settings of the vLLM server, if there is one; TRL samples at temperature 1 without filters."""
    if config.vllm_server is None:
        return {}
    # A reply has its own limit: TRL's `max_completion_length` is that of a whole conversation.
    one_reply = {"max_tokens": config.max_reply_tokens, "stop_token_ids": list(tokens.end_ids)}
    return {
        "use_vllm": True,
        "vllm_mode": "server",
        "vllm_server_base_url": config.vllm_server,
        "vllm_server_timeout": 0.0,
        "generation_kwargs": one_reply,
    }
