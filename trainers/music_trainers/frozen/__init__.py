"""Reward models on a frozen backbone: hidden states that are computed once, and heads that are fitted in seconds.

- `run`: `train_reward_head`, the run; `head_run`: its phases; `records`: its result.
- `features`: `FrozenBackbone`, conversations to hidden states; `cache`: these on disk.
- `comparisons`: pairs of hidden states to what a head is fitted on; `head`: `fit_head` and `choose_ridge`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
