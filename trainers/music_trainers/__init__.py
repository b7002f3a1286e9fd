"""Trainers: reward models from preference pairs, policies from rewards, and the end-to-end demo.

- `music_trainers.reward`: the reward-model trainer.
- `music_trainers.frozen`: heads on a frozen backbone, fitted in closed loop.
- `music_trainers.policy`: policies from the rewards of chat environments.
- `music_trainers.precision`: optimizer states with fewer bits.
- `music_trainers.demo`: the paper in miniature; `music_trainers.experiment`: the same as a grid of arms and seeds, with
  controls; `music_trainers.arms`: how both train and measure their arms.
- `music_trainers.cli`: `music train`, `music rl` and `music demo`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
