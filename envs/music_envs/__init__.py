"""Environments: a reward model in Gymnasium and in Best-of-N.

Importing this package registers `music/Chat-v0` with Gymnasium.

- `chat`: conversations with a simulated user: one (`ChatEnv`), many (`ChatVectorEnv`) or awaited (`AsyncChatEnv`).
  `spaces` has their spaces, `prompts` the prompts that they start from, `players` the two speakers.
- `policies`: policies that play the assistant: any callable, an endpoint, a local model. `credit`: the advantage of
  each turn, from its reward.
- `best_of_n`: multi-turn Best-of-N: greedy per turn (the paper's), with an early stop, as a tree search over turns, or
  over whole conversations; the value of each further candidate; comparisons of two selectors.
- `adapters`: the reward and the user in RL libraries, one module for each.
- `testing`: `check_chat_env`, for environments of your own. `cli`: `music best-of-n`.
"""

import lazy_loader

from music_envs.registration import register_envs

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
register_envs()
