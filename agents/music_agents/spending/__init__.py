"""What a run spends: `budget` (prices and bounds), `ledger` (accounts by role and model), `records`."""
