from .adamw import CompactAdamW, make_optimizer
from .policy import StatesPolicy, bytes_per_parameter

__all__ = ["CompactAdamW", "StatesPolicy", "bytes_per_parameter", "make_optimizer"]
