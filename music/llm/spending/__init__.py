"""Costs of calls.

- `budget`: prices and budgets; `ledger`: the accounts of a run by role and model.
- `records`: sums of costs and tokens; `model`: a model within a budget.
"""
