"""A resumable simulation on disk.

- `run`: `run_simulation`, the entry point; `session`: one session, which writes the files.
- `endpoints`: the models of a run; `roles`: its roles, gates and journaled models.
- `settings`: settings that all sessions of a run share; `report`: `run.json`.
"""

from music_agents.run.endpoints import EndpointNotReadyError, Models
from music_agents.run.report import RunReport, RunStatus
from music_agents.run.roles import GraphFactory
from music_agents.run.run import run_simulation
from music_agents.run.settings import Partition

__all__ = ["EndpointNotReadyError", "GraphFactory", "Models", "Partition", "RunReport", "RunStatus", "run_simulation"]
