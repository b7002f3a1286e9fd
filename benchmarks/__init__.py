"""Benchmarks of speed and memory; every figure has its baseline from the same run."""

from music.quiet import hide_missing_kernels

hide_missing_kernels()
