"""A simulation on disk, resumable.

- `run`: `run_simulation`, the one way in; `session`: one session, from the opening of its files to their closing.
- `endpoints`: the models of a run; `roles`: the roles, gates and journaled models that it is built from.
- `settings`: what sessions of a run share; `report`: `run.json`.
"""

from music_agents.run.endpoints import EndpointNotReadyError, Models
from music_agents.run.report import RunReport, RunStatus
from music_agents.run.roles import GraphFactory
from music_agents.run.run import run_simulation
from music_agents.run.settings import Partition

__all__ = ["EndpointNotReadyError", "GraphFactory", "Models", "Partition", "RunReport", "RunStatus", "run_simulation"]
