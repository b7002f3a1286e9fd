"""Benchmarks of reward models: each module reads the rows of one, and computes the figures that papers quote.

- `types` defines `Benchmark`, `Item` and `ItemSet`. - `registry` finds benchmarks by name and reads their files.
- `fields` checks rows. - `scored` holds items and scores as arrays, and computes figures from them.
- `rewardbench`, `rewardbench2`, `rm_bench`, `judgebench`, `rmb`, `ppe` (with `ppe_correctness`), `mt_bench`, `llmbar`,
  `voted_pairs` (HelpSteer3, LMArena), `if_rewardbench`, `multichallenge`, `rankjudge`.
- `conversation_bench` reads all human preferences between conversations of several turns; `pairs` any file of pairs.
- `defects` and `turn_labels` (with `turn_agreement`) are the multi-turn tests: which turns a reward model reads, and
  whether it knows which turn was bad.
"""
