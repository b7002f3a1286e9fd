"""Adapters: the user and the reward of a `ChatWorld` in RL libraries. Each file needs its library installed.

| library | file | single replies | conversations of several turns |
|---|---|---|---|
| TRL | `trl` | `as_trl_reward` | `ChatRollout` with `episode_reward` |
| verifiers | `verifiers` | | `UserSimulationEnv` with a `ChatTaskset` |
| TorchRL | `torchrl` | | `ChatUser`, a transform for its `ChatEnv` |
| OpenEnv | `openenv` | | `ChatEnvironment`, for its server |
| OpenRLHF | `openrlhf` | `as_reward_func` | `agent_executor` |
| NeMo Gym | `nemo_gym` | | `ChatServer` |
| SkyRL | `skyrl` | | `ChatTextEnv` |
| Tinker | `tinker` | | `ChatGroupBuilder` |
| verl | `verl` | `as_compute_score`, `MessageRewardManager` | `ChatAgentLoop` |

They share `template`, the tokens between two replies, and `turns`, one turn with a floor.
"""
