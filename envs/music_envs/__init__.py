"""Environments: a reward model at work in Gymnasium and in Best-of-N.

Importing this package registers `music/Chat-v0` with Gymnasium.

- `chat`: `ChatEnv`, a conversation with a simulated user as a Gymnasium environment; `spaces` are its spaces.
- `best_of_n`: multi-turn Best-of-N, greedy per turn (the paper's) and over whole conversations.
- `comparison`: a judge's grades, and how sure it is that one selector beats another; `records`: rollouts as JSON.
- `cli`: `music best-of-n`.
"""

import lazy_loader

from music_envs.registration import register_envs

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
register_envs()
