"""TRL's `GRPOTrainer`: single replies, conversations with a user, and an advantage for every turn.

- `as_trl_reward`: a reward for single replies, one of GRPO's `reward_funcs`.
- `ChatRollout`: GRPO's `rollout_func` for conversations in which a user answers; `episode_reward`: its rewards.
- `TurnLevelGRPOTrainer`: a `GRPOTrainer` that gives each reply of a conversation its own advantage.
"""

from music_envs.adapters.trl.replies import as_trl_reward
from music_envs.adapters.trl.rollout import ChatRollout
from music_envs.adapters.trl.trainer import TurnLevelGRPOTrainer
from music_envs.adapters.trl.trajectory import episode_reward

__all__ = ["ChatRollout", "TurnLevelGRPOTrainer", "as_trl_reward", "episode_reward"]
