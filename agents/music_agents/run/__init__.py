"""A simulation on disk, resumable: settings, models, casting, session, report."""

from music_agents.config import OwnPrompt, SimulationConfig
from music_agents.run.endpoints import RequestOptions, RoleEndpoints, RoleModels, read_options
from music_agents.run.job import SimulationJob, load_graph
from music_agents.run.report import RunReport, RunStatus
from music_agents.run.roles import Casting, GraphFactory, standard_graph
from music_agents.run.run import run_simulation
from music_agents.run.settings import Partition

__all__ = [
    "Casting",
    "GraphFactory",
    "OwnPrompt",
    "RequestOptions",
    "RoleEndpoints",
    "RoleModels",
    "RunReport",
    "RunStatus",
]
__all__ += [
    "Partition",
    "SimulationConfig",
    "SimulationJob",
    "load_graph",
    "read_options",
    "run_simulation",
    "standard_graph",
]
