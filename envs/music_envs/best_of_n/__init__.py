"""Best-of-N over conversations: many candidates, one reward function that selects.

- `run`: `run_best_of_n`, with parts of your own. `evaluation`: `evaluate_best_of_n`, from one `config`.
- `strategies`: `Greedy` (the paper's: the best reply at every turn), `Anytime` (the same, but it stops drawing early),
  `Beam` (a tree search over the turns), `Whole` (the best of N finished conversations).
- `sampler`: `CandidateSampler`, which asks the players; `selection`: scoring candidates and keeping the best;
  `rollout`: the result for one seed.
- `by_n`: what each further candidate adds, by the reward and by a grader; `comparison`: one selector against another;
  `report`: a run in words and tables.
"""
