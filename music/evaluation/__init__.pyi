from .benchmarks.registry import load_benchmark

__all__ = ["load_benchmark"]
