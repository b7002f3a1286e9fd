"""The reward-model trainer: from preference pairs to a vanilla checkpoint.

- `trainer`: `train_reward_model`; `config`: what shapes a run; `records` and `accounting`: what comes out.
- The run: `run` (what it works with), `loop` (its steps), `history` (how it went), `checkpoints`, `evaluation`.
- How it is set up: `launch` (device and processes), `lora`, `rates` (a guard).
- How it is followed: `progress`, `throughput`, `tracking`.
- `pairs`: which pairs a step sees, as tokens. `step`: one optimizer step, from losses to processes.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
