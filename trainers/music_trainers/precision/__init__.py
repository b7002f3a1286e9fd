"""AdamW for bf16 weights, with small states and without losing small updates.

- `policy`: `StatesPolicy`, the choices and their memory. Imports no torch.
- `adamw`: `CompactAdamW`, the optimizer, and `make_optimizer`.
- `states`: the state tensors of a parameter, and how each is read and written.
- `rounding`: stochastic rounding to bf16, fp32 as bf16 and 16 more bits, and moments in 8 bits.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
