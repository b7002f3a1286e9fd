"""The reward-model trainer: from preference pairs to a vanilla checkpoint.

Read in this order:

- `trainer`: `train_reward_model`, the run; `loop`: its steps; `optimizer`: one step, with the formulas in `losses`.
- `config`: what shapes a run; `records`: what comes out.
- The pairs: `mixture` (their sources), `pairs` (as tokens), `schedule` (which of them each step sees).
- The model: `trainable` (LoRA, 4 bits, dropout), `hooks` (on its layers while it computes).
- The processes: `launch` (how a run starts), `distributed` (rows and weights among them).
- The course: `run` (what a run works with), `history`, `checkpoints`, `progress` (display and tracker).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
