"""What calls cost.

`budget` holds prices and bounds, `ledger` accounts by role and model, `records` what was spent, and `model` a model
within a budget.
"""
