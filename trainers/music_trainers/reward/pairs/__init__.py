"""Training pairs, from what was read to what a step sees.

- `encoding`: `EncodedPair`, a pair as tokens, with an account of those that cannot be used.
- `mixture`: sources of pairs with weights. `schedule`: their order.
- `groups`: `PairGroup`, pairs that are packed together.
"""
