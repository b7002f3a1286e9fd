"""Agents: simulators of conversations, as LangGraph graphs over any chat model.

- `roles`: the user and the assistant; `personas`: who the user is; `contrasts`: what makes the rejected side worse.
- `graph`: the pair graph (paper, Algorithm 1); `seeds`: where it starts; `pair_simulator`: one pair, from its index to
  its outcome; `simulation`: many, asynchronously; `quality`: what a pair must pass.
- `failures`: giving up, as data, and what to do about it; `stall_detection`: when a run stops because of them.
- `config`, `run_config`: what a run is asked for; `run`: a simulation on disk; `output`: its files; `progress`: live
  counts; `scaleout`: one run by many workers; `defects`: pairs with an error at one turn.
- `cli`: `music simulate`; `dry_run`, `model_check`: what comes before a run.
- `testing`: checks of roles and contrasts of your own; `studio`: the pair graph for LangGraph Studio.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
