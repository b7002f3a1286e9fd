from .config import DefectsConfig, SimulationConfig
from .contrasts import (
    ContradictContrast,
    ContrastMix,
    DropConstraintContrast,
    ForgetContrast,
    IgnoreCorrectionContrast,
    InstructionContrast,
    LoseGoalContrast,
    PersonaSwapContrast,
    Schedule,
    StaleContrast,
    TwoCallContrast,
    WeakerModelContrast,
    make_contrast,
    register_contrast,
)
from .failures import FailedPair, FailureReason, RoleFailedError, UnfitReplyError
from .graph import PairContext, PairGraph, PairGraphError, PairState, answer_node, build_pair_graph, speak, user_node
from .personas import Persona, PersonaSource
from .personas.sampler import PersonaSampler
from .personas.sources import load_personas
from .quality import GateVerdict, GateView, JudgeGate, ModelJudge, OracleJudge, PairGate, default_gates, diagnose_pairs
from .roles import Answer, AssistantRole, RoleSet, RoleTurn, RoleView, SharedScript, Speaker, UserRole, ask
from .run import GraphFactory, RunReport, RunStatus, run_simulation
from .simulation import simulate
from .stall_detection import SimulationStalledError
from .version import __version__

__all__ = [
    "Answer",
    "AssistantRole",
    "ContradictContrast",
    "ContrastMix",
    "DefectsConfig",
    "DropConstraintContrast",
    "FailedPair",
    "FailureReason",
    "ForgetContrast",
    "GateVerdict",
    "GateView",
    "GraphFactory",
    "IgnoreCorrectionContrast",
    "InstructionContrast",
    "JudgeGate",
    "LoseGoalContrast",
    "ModelJudge",
    "OracleJudge",
    "PairContext",
    "PairGate",
    "PairGraph",
    "PairGraphError",
    "PairState",
    "Persona",
    "PersonaSampler",
    "PersonaSource",
    "PersonaSwapContrast",
    "RoleFailedError",
    "RoleSet",
    "RoleTurn",
    "RoleView",
    "RunReport",
    "RunStatus",
    "Schedule",
    "SharedScript",
    "SimulationConfig",
    "SimulationStalledError",
    "Speaker",
    "StaleContrast",
    "TwoCallContrast",
    "UnfitReplyError",
    "UserRole",
    "WeakerModelContrast",
    "__version__",
    "answer_node",
    "ask",
    "build_pair_graph",
    "default_gates",
    "diagnose_pairs",
    "load_personas",
    "make_contrast",
    "register_contrast",
    "run_simulation",
    "simulate",
    "speak",
    "user_node",
]
