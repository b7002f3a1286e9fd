from .contrasts import ContrastMix, DropConstraintContrast, InstructionContrast, make_contrast, register_contrast
from .failures import FailedPair, FailureReason, RoleFailedError
from .graph import build_pair_graph
from .roles import AssistantRole, Role, Roles, RoleTurn, RoleView, Sampling, UserRole
from .run import RoleModels, RunReport, RunStatus, SimulationConfig, run_simulation
from .simulation import SimulationStalledError, simulate

__all__ = [
    "AssistantRole",
    "ContrastMix",
    "DropConstraintContrast",
    "FailedPair",
    "FailureReason",
    "InstructionContrast",
    "Role",
    "RoleFailedError",
    "RoleModels",
    "RoleTurn",
    "RoleView",
    "Roles",
    "RunReport",
    "RunStatus",
    "Sampling",
    "SimulationConfig",
    "SimulationStalledError",
    "UserRole",
    "build_pair_graph",
    "make_contrast",
    "register_contrast",
    "run_simulation",
    "simulate",
]
