"""What calls cost.

`budget` holds prices and bounds, `ledger` accounts by role and model, `records` sums and what they come to, `model` a
model within a budget.
"""
