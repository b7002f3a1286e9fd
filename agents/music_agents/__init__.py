"""Agents: simulators of conversations, as LangGraph graphs over any chat model.

- `roles`: the user and the assistant; `personas`: who the user is; `contrasts`: what makes the rejected side worse.
- `graph`: the pair graph (paper, Algorithm 1); `seeds`: where it starts; `simulator`: one pair, from its index to its
  outcome; `simulation`: many, asynchronously; `failures`: giving up, as data; `quality`: what a pair must pass.
- `run`: a simulation on disk; `output`: its files; `progress`, `spending`: live counts and costs; `cli`: the command.
- `studio`: the pair graph over the sandbox, for LangGraph Studio.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
