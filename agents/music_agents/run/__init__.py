"""A simulation on disk, resumable: settings, models, casting, session, report."""

from music_agents.run.casting import Casting, GraphFactory, standard_graph
from music_agents.run.config import OwnPrompt, SimulationConfig
from music_agents.run.job import SimulationJob, load_graph
from music_agents.run.models import RoleEndpoints, RoleModels
from music_agents.run.options import RoleOptions, read_options
from music_agents.run.report import RunReport, RunStatus
from music_agents.run.run import run_simulation
from music_agents.run.share import Share

__all__ = [
    "Casting",
    "GraphFactory",
    "OwnPrompt",
    "RoleEndpoints",
    "RoleModels",
    "RoleOptions",
    "RunReport",
    "RunStatus",
]
__all__ += [
    "Share",
    "SimulationConfig",
    "SimulationJob",
    "load_graph",
    "read_options",
    "run_simulation",
    "standard_graph",
]
