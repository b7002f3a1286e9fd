"""AdamW for bf16 weights: what the optimizer keeps of each parameter, and how none of its small updates is lost.

- `music_trainers.precision.policy`: `StatesPolicy`, the choices and what each takes. Light: no torch.
- `music_trainers.precision.adamw`: `CompactAdamW`, the optimizer, and `make_optimizer`.
- `music_trainers.precision.states`: the tensors that it keeps of a parameter, and how each is read and written.
- `music_trainers.precision.rounding`: stochastic rounding to bf16, and fp32 as bf16 and 16 bits more;
  `music_trainers.precision.quantised`: moments in 8 bits.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
