"""verl: conversations with a user, rewards of messages, and credit for each turn.

- `as_compute_score`: a reward for single replies, for the file that `reward.custom_reward_function.path` names.
- `agent_loop`: `ChatAgentLoop`, which the file of `actor_rollout_ref.rollout.agent.agent_loop_config_path` names.
- `advantage`: the estimator `turn_credit` for `algorithm.adv_estimator`. Name the module in
  `actor_rollout_ref.model.external_lib`.
- `reward_manager`: `MessageRewardManager`, for verl's own agent loops.

The last three import verl.
"""

from music_envs.adapters.verl.single_turn import as_compute_score

__all__ = ["as_compute_score"]
