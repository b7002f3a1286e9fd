"""`train_policy`: a run from the starting policy to the trained policy, its curves and its held-out conversations."""

import copy
import time
from collections.abc import Callable
from typing import Any

import orjson
import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback, TrainerControl, TrainerState

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.names import require_model
from music.quiet import quiet_transformers
from music.registry import ORACLE, SANDBOX
from music.report import write_report
from music.reward.functions import RewardFunction, load_reward
from music.reward.loading import save_model
from music_envs import ChatVectorEnv
from music_envs.prompts import load_prompts
from music_trainers.policy.config import POLICY_FOLDER, RECORD_FILE, PolicyTrainingConfig
from music_trainers.policy.evaluation import HeldOutEpisodes
from music_trainers.policy.records import NOT_SAVED, PolicyEvaluation, PolicyTrainingResult, find_overoptimisation
from music_trainers.policy.report import policy_report
from music_trainers.policy.rollouts import ChatTokens
from music_trainers.policy.trainer import TurnTrainer

__all__ = ["train_policy"]

SEEDS_PER_RUN = 10**6
"""Number of user seeds reserved for a run, so that runs with different seeds have different users."""


def train_policy(
    config: PolicyTrainingConfig,
    on_evaluation: Callable[[PolicyEvaluation], None] = lambda _: None,
    on_step: Callable[[int], None] = lambda _: None,
) -> PolicyTrainingResult:
    """Train a policy on the rewards of simulated conversations, and evaluate it on held-out conversations.

    Writes into `config.out`: the trained policy (`policy`), `result.json`, `report.html`, and the held-out
    conversations with greedy replies, before and after training (`before.jsonl`, `after.jsonl`). Needs the extra `trl`.

    Args:
        config: The settings.
        on_evaluation: Called with each evaluation.
        on_step: Called after each step with its number, from 1.

    Raises:
        InvalidInputError: An argument is invalid, the policy is not a chat model, or `config.out` holds a finished run.

    Example:
        >>> from pathlib import Path
        >>> from music_trainers import PolicyTrainingConfig, train_policy
        >>> result = train_policy(PolicyTrainingConfig(out=Path("runs/rl"), num_steps=15))
        >>> print([(point.step, point.reward.value) for point in result.curve])
    """
    config.require_unfinished()
    began = time.monotonic()
    model, tokenizer, tokens = _policy(config.policy)
    reward = load_reward(config.reward)
    is_in_sandbox = config.user.partition(":")[0] == SANDBOX and config.seeds in (None, SANDBOX)
    judge = config.judge or (ORACLE if is_in_sandbox else None)
    held_out = HeldOutEpisodes(
        config,
        _environment(config, reward, is_held_out=True),
        load_reward(judge) if judge else None,
        copy.deepcopy(model).eval(),
        tokens,
    )
    callback = _EvaluationCallback(config, held_out, on_evaluation, on_step)
    greedy_before, before = held_out.evaluate(model, 0, greedy=True)
    env = _environment(config, reward, is_held_out=False)
    first = config.seed * SEEDS_PER_RUN
    seeds = range(first, first + config.num_steps * config.num_groups)
    TurnTrainer(config, env, model, tokenizer, tokens, seeds, [callback]).train()
    greedy_after, after = held_out.evaluate(model, config.num_steps, greedy=True)
    result = PolicyTrainingResult(
        config=config,
        curve=tuple(callback.curve),
        greedy_before=greedy_before,
        greedy_after=greedy_after,
        overoptimisation=find_overoptimisation(tuple(callback.curve)),
        seconds=time.monotonic() - began,
    )
    save_model(model, tokenizer, config.out / POLICY_FOLDER)
    _save(result, {"before": before, "after": after})
    return result


class _EvaluationCallback(TrainerCallback):
    """Reports steps, and evaluates the policy at the start, at intervals and at the end."""

    def __init__(
        self,
        config: PolicyTrainingConfig,
        held_out: HeldOutEpisodes,
        on_evaluation: Callable[[PolicyEvaluation], None],
        on_step: Callable[[int], None],
    ) -> None:
        self.curve: list[PolicyEvaluation] = []
        self._config, self._held_out, self._on_evaluation, self._on_step = config, held_out, on_evaluation, on_step

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Evaluate the starting policy."""
        self._evaluate(kwargs["model"], 0)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Report a step, and evaluate if it is due; TRL counts optimizer steps."""
        step, rest = divmod(state.global_step, self._config.updates_per_step)
        if rest:
            return
        self._on_step(step)
        if step % self._config.evaluate_every == 0 or step == self._config.num_steps:
            self._evaluate(kwargs["model"], step)

    def _evaluate(self, model: Any, step: int) -> None:
        self.curve.append(self._held_out.evaluate(model, step)[0])
        self._on_evaluation(self.curve[-1])


def _policy(name: str) -> tuple[Any, Any, ChatTokens]:
    """Load a policy, its tokenizer, and its chat template."""
    require_model(name)
    try:
        with quiet_transformers():
            tokenizer: Any = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
            model: Any = AutoModelForCausalLM.from_pretrained(
                name, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
            )
    except (OSError, ValueError, SafetensorError) as error:
        why = str(error).partition("\n")[0]
        raise InvalidInputError(f"{name}: expected a causal language model (safetensors): {why}") from error
    if not tokenizer.chat_template:
        raise InvalidInputError(f"{name}: expected a chat model, but its tokenizer has no chat template")
    ends = model.generation_config.eos_token_id
    ends = [] if ends is None else [ends] if isinstance(ends, int) else ends
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    return model, tokenizer, ChatTokens(tokenizer, ends)


def _environment(config: PolicyTrainingConfig, reward: RewardFunction, *, is_held_out: bool) -> ChatVectorEnv:
    """Make the environments of training or of the held-out episodes, which have other prompts if there are prompts."""
    arguments: dict[str, Any] = {}
    if config.seeds is not None:
        contexts = load_prompts(config.seeds)
        if len(contexts) < 2:
            raise InvalidInputError(f"{config.seeds}: expected at least two prompts, as some are held out, got 1")
        kept = contexts[::5] if is_held_out else [c for i, c in enumerate(contexts) if i % 5]
        arguments["seeds"] = kept
    personas = (config.eval_personas or config.personas) if is_held_out else config.personas
    if personas is not None:
        arguments["personas"] = personas
    num = config.num_evaluations if is_held_out else config.num_episodes
    return ChatVectorEnv(
        num, num_turns=config.num_turns, user=config.user, reward=reward, reward_mode=config.reward_mode, **arguments
    )


def _save(result: PolicyTrainingResult, held_out: dict[str, tuple[Conversation, ...]]) -> None:
    """Write the record, the report and the held-out conversations."""
    out = result.config.out
    (out / RECORD_FILE).write_text(result.model_dump_json(indent=2, exclude=NOT_SAVED) + "\n", encoding="utf-8")
    write_report(policy_report(result), out / "report.html")
    for name, conversations in held_out.items():
        rows = ({"messages": conversation.to_messages()} for conversation in conversations)
        (out / f"{name}.jsonl").write_bytes(b"".join(orjson.dumps(r, option=orjson.OPT_APPEND_NEWLINE) for r in rows))
