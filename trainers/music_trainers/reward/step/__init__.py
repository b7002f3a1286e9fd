"""One optimizer step.

- `objective`: from the rewards of a packed row to its loss; `losses`: the formulas.
- `optimization`: `PairOptimizer`, the step itself.
- `distributed`: rows dealt out to processes, and weights gathered from them.
"""
