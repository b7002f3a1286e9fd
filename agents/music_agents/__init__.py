"""Agents: simulators of conversations, as LangGraph graphs over any chat model.

- `roles`: the user and the assistant; `personas`: personas of users; `contrasts`: how rejected turns are made worse.
- `graph`: the pair graph (paper, Algorithm 1); `seeds`: its seed contexts; `pair_simulator`: one pair, by its index;
  `simulation`: many pairs, asynchronously; `quality`: gates, judges and diagnostics.
- `failures`: failed pairs as data, with remedies; `stall_detection`: when failures stop a run.
- `config`, `run_config`: settings of a run; `run`: a simulation on disk; `output`: its files; `progress`: live counts;
  `scaleout`: one run with many workers; `defects`: pairs with an error at one turn.
- `cli`: `music simulate`; `dry_run`, `model_check`: `--dry-run` and `--check`.
- `testing`: checks of your own roles and contrasts; `studio`: the pair graph for LangGraph Studio.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
