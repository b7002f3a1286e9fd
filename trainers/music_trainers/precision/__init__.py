"""AdamW for bf16 weights: what the optimizer keeps of each parameter, and how none of its small updates is lost.

- `policy`: `StatesPolicy`, the choices and what each takes. Light: no torch.
- `adamw`: `CompactAdamW`, the optimizer, and `make_optimizer`.
- `states`: the tensors that it keeps of a parameter, and how each is read and written.
- `rounding`: stochastic rounding to bf16, fp32 as bf16 and 16 bits more, and moments in 8 bits.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
