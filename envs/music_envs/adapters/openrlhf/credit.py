"""`use_turn_credit`: credit for each turn in OpenRLHF, whose trainer knows one reward per conversation.

OpenRLHF adds up the rewards of a conversation, subtracts the group's mean, and puts the result on the last token. With
a discount of 1, all tokens of all replies then have the same advantage. `use_turn_credit` replaces this step by the
rule of `music_envs.credit`. The rewards of the turns arrive in the logs of `agent_executor`.
"""

import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import torch

from music.errors import InvalidInputError
from music_envs.adapters.turns import turns_of_mask
from music_envs.credit import token_advantages, turn_advantages

__all__ = ["use_turn_credit"]

_MODULE = "openrlhf.trainer.ppo_utils.experience_maker"

Experiences = list[Any]


def use_turn_credit() -> None:
    """Let OpenRLHF's trainer in this process give each reply the advantage of its own turn.

    The discount is `--algo.advantage.gamma`, for each turn. `--algo.kl.init_coef` and length penalties count: the KL
    penalty of a reply's tokens belongs to its turn, a length penalty to the last one.

    Give its name to Ray, which calls it in every process: `ray.init(runtime_env={"worker_process_setup_hook":
    "music_envs.adapters.openrlhf.use_turn_credit"})`. It imports nothing of OpenRLHF before OpenRLHF does, because its
    modules must not look for GPUs before Ray has assigned them.
    """
    if module := sys.modules.get(_MODULE):
        _replace(module)
    else:
        sys.meta_path.insert(0, _OnImport())


class _OnImport(MetaPathFinder, Loader):
    """Replaces the step in the module as soon as it is imported."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != _MODULE:
            return None
        sys.meta_path.remove(self)
        self._spec = importlib.util.find_spec(name)
        return self._spec and importlib.util.spec_from_file_location(name, self._spec.origin, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        assert self._spec is not None
        assert self._spec.loader is not None
        self._spec.loader.exec_module(module)
        _replace(module)


def _replace(module: Any) -> None:
    maker = module.RemoteExperienceMaker
    plain: Callable[[Any, Experiences], Experiences] = maker.compute_advantages_and_returns

    def compute_advantages_and_returns(self: Any, experiences: Experiences) -> Experiences:
        return _with_turn_credit(self, experiences, plain)

    maker.compute_advantages_and_returns = compute_advantages_and_returns


@torch.no_grad()
def _with_turn_credit(
    maker: Any, experiences: Experiences, plain: Callable[[Any, Experiences], Experiences]
) -> Experiences:
    """Compute OpenRLHF's advantages, for its statistics and penalties, and put those of the turns in their place."""
    num_samples = maker.args.rollout.n_samples_per_prompt
    if maker.advantage_estimator == "gae" or num_samples < 2:
        raise InvalidInputError(
            "expected an estimator without a critic and at least 2 samples per prompt, because a turn is compared with "
            f"the same turn of its group; got {maker.advantage_estimator} with {num_samples}: set "
            "--algo.advantage.estimator group_norm --rollout.n_samples_per_prompt 8"
        )
    discount = maker.args.algo.advantage.gamma  # `plain` sets it to 1 for most estimators.
    kl = [max(maker.kl_ctl.value, 0.0) * each.kl for each in experiences]  # `plain` forgets it.
    before = [each.rewards.clone() for each in experiences]
    experiences = plain(maker, experiences)

    rows: dict[int, tuple[list[int], list[float]]] = {}
    for each, penalties, rewards in zip(experiences, kl, before, strict=True):
        for row, index in enumerate(each.index):
            turns = turns_of_mask(each.action_mask[row].long().tolist())
            rows[index] = turns, _turn_rewards(each, row, turns, penalties[row], each.rewards[row] - rewards[row])
    ordered = [rows[index] for index in sorted(rows)]
    by_turn = turn_advantages([rewards for _, rewards in ordered], num_samples, discount)
    by_token = token_advantages(by_turn, [turns for turns, _ in ordered])

    for each in experiences:
        each.advantages = torch.tensor([by_token[index] for index in each.index])
        each.returns = each.advantages.clone()
    return experiences


def _turn_rewards(experience: Any, row: int, turns: list[int], kl: Any, length_penalty: Any) -> list[float]:
    """Return the rewards of the turns of one conversation, with OpenRLHF's penalties."""
    if "turn_reward_0" not in experience.info:
        raise InvalidInputError("expected conversations of `agent_executor`, got some without the rewards of turns")
    rewards = [float(experience.info[f"turn_reward_{turn}"][row]) for turn in range(max(turns) + 1)]
    for turn, penalty in zip(turns, kl.tolist(), strict=True):
        if turn >= 0:
            rewards[turn] -= penalty
    rewards[-1] += float(length_penalty)
    return rewards
