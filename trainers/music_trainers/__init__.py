"""Trainers: reward models from preference pairs, and the end-to-end demo.

- `music_trainers.reward`: `train_reward_model`; `music_trainers.records`: its configuration and its record.
- `music_trainers.data`: pairs as tokens, their account and their order; `music_trainers.metrics`: loss and held-out
  metrics; `music_trainers.optimization`: the step; `music_trainers.checkpoints`: resuming.
- `music_trainers.cli`: `music train` and `music demo`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
