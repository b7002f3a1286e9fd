"""`TurnLevelGRPOTrainer`: TRL's GRPO with an advantage for every reply of a conversation."""

from typing import Any

import torch
from accelerate.utils import gather_object
from trl.trainer.grpo_trainer import GRPOTrainer

from music.errors import InvalidInputError
from music_envs.credit import token_advantages, turn_advantages

__all__ = ["TurnLevelGRPOTrainer"]


class TurnLevelGRPOTrainer(GRPOTrainer):
    """GRPO that replaces the advantage of a completion by the advantages of its turns.

    `music_envs.credit` has the rule. The rewards of the turns come from the `rollout_func`, which returns for each
    completion `turn_rewards` (a list of numbers, NaN for a turn without a reward) and `token_turns` (for each token,
    the turn of its reply, or `USER`), as `ChatRollout` does. The members of a group may be in several processes. The
    `reward_funcs` are logged; the policy does not learn from them, and `scale_rewards` has no effect.

    Args:
        *args: Those of `GRPOTrainer`.
        discount: Weight of the next turn's return. With 1 a reply is credited with all later rewards, with 0 only with
            its own.
        **kwargs: Those of `GRPOTrainer`.

    Raises:
        InvalidInputError: `discount` is not between 0 and 1, or (in training) the rollouts lack one of the fields.
    """

    def __init__(self, *args: Any, discount: float = 1.0, **kwargs: Any) -> None:
        if not 0 <= discount <= 1:
            raise InvalidInputError(f"expected a discount between 0 and 1, got {discount}")
        self.discount = discount
        super().__init__(*args, **kwargs)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)  # adds the rollouts' fields to inputs
        if missing := {"turn_rewards", "token_turns"} - inputs[0].keys():
            raise InvalidInputError(
                f"expected a rollout_func that returns turn_rewards and token_turns, as ChatRollout does; "
                f"this one returns no {' and no '.join(sorted(missing))}"
            )
        model: Any = self.model
        group_size: Any = self.num_generations if model.training else self.num_generations_eval
        rewards = gather_object([row["turn_rewards"] for row in inputs])
        start = self.accelerator.process_index * len(inputs)
        own = turn_advantages(rewards, group_size, self.discount)[start : start + len(inputs)]
        advantages = torch.zeros(output["completion_ids"].shape)  # [completions, tokens]
        for row, values in zip(advantages, token_advantages(own, [row["token_turns"] for row in inputs]), strict=True):
            row[: len(values)] = torch.tensor(values)
        output["advantages"] = advantages.to(output["advantages"])
        return output
