"""The reward-model trainer: from preference pairs to a vanilla checkpoint.

Read in this order:

- `trainer`: `train_reward_model`, the run; `loop`: its steps; `optimizer`: one step, with the formulas in `losses`.
- `config`: the settings of a run; `records`: its results.
- The pairs: `mixture` (their sources), `pairs` (as tokens), `schedule` (which pairs each step sees).
- The model: `trainable` (LoRA, 4 bits, dropout), `hooks` (on its layers during a forward pass).
- The processes: `launch` (how a run starts), `distributed` (rows and weights across processes).
- The state of a run: `run`, `history`, `checkpoints`, `progress` (display and tracker).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
