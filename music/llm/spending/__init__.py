"""What calls cost.

`budget` prices and bounds, `ledger` accounts by role and model, `tally` their sums, `records` what they come to,
`model` a model within a budget.
"""
