"""Benchmarks of reward models: one module for each, from its rows to the figures that the field quotes.

- `types` the vocabulary: `Benchmark`, `Item`, `ItemSet`. - `registry` benchmarks by name, and reading their files.
- `fields` checks of rows. - `scored` items and scores as arrays, from which figures are made.
- `rewardbench`, `rewardbench2`, `rm_bench`, `judgebench`, `rmb`, `ppe` (with `ppe_correctness`), `mt_bench`.
- `pairs` any file of pairs. - `defects` and `turn_labels` (with `turn_agreement`) are the multi-turn tests: which turns
  a reward model reads, and whether it knows which turn was bad.
"""
