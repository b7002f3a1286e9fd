"""Policy training: a language model plays the assistant in chat environments and learns from their rewards.

- `run`: `train_policy`; `config`: its settings; `records`: its results; `report`: the results in words and as curves.
- `trainer`: TRL's GRPO with an advantage for each turn (`music_envs.credit` has the formula).
- `rollouts`: episodes as tokens, and sampled replies; `evaluation`: held-out episodes.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
