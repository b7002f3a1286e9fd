"""Best-of-N over conversations: a reward function selects among many candidates.

- `run`: `run_best_of_n`, for your own players and reward. `evaluation`: `evaluate_best_of_n`, from one `config`.
- `strategies`: `Greedy` (the paper's: the best reply at every turn), `Anytime` (the same with an early stop),
  `Beam` (a tree search over the turns), `Whole` (the best of N finished conversations).
- `sampler`: `CandidateSampler`, which asks the players. `selection`: scores candidates and keeps the best.
  `rollout`: the result for one seed.
- `distillation`: the choices as training sets for SFT and DPO.
- `by_n`: the value of each further candidate. `comparison`: compares two selectors. `report`: results and tables.
"""
