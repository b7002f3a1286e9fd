"""Trainers: reward models from preference pairs, and the end-to-end demo.

- `music_trainers.reward`: `train_reward_model`; `music_trainers.config`: its configuration; `music_trainers.records`
  and `accounting`: what comes out.
- The run: `music_trainers.run` (what it works with), `loop` (its steps), `history` (how it went), `checkpoints`.
- The pairs: `music_trainers.data` (as tokens, with their account), `mixture` (sources with weights), `schedule` (their
  order), `groups` (what is packed together).
- The step: `music_trainers.objective` and `losses`, `optimization`, `precision` (optimizer states), `launch` and
  `distributed` (devices and processes), `lora`; `evaluation` on held-out pairs.
- `music_trainers.rates` guards the learning rate; `throughput`, `tracking` and `progress` tell how a run goes.
- `music_trainers.cli`: `music train` and `music demo`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
