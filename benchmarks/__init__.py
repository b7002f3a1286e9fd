"""Benchmarks of speed and memory; every figure has its baseline from the same run."""
