"""Agents: simulators of conversations, as LangGraph graphs over any chat model.

- `roles`: the user and the assistant; `contrasts`: what makes the rejected side worse; `failures`: giving up, as data.
- `graph`: the pair graph (paper, Algorithm 1); `seeds`: where it starts; `simulation`: many of them, asynchronously.
- `run`: a simulation on disk, with its shards, failure log, journal and progress; `cli`, `display`: its command.
- `studio`: the pair graph over the sandbox, for LangGraph Studio.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
