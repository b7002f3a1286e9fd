"""Casting: from models and settings to the roles of a run, its graph and its gates."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from music.errors import InvalidInputError
from music.llm.chat import ChatModel, Sampling
from music.llm.journal import Journal, JournaledModel
from music.pairs import Usage
from music_agents.contrasts import Cast, Schedule, make_contrast
from music_agents.graph import PairGraph, build_pair_graph
from music_agents.progress import RunProgress
from music_agents.progress.metering import MeteredModel
from music_agents.quality import JudgeGate, ModelJudge, PairGate, default_gates
from music_agents.roles import Roles
from music_agents.roles.assistant import AssistantRole
from music_agents.roles.shared_script import SharedScript
from music_agents.roles.user import UserRole
from music_agents.roles.user_gates import DEFAULT_USER_GATES
from music_agents.run.config import SimulationConfig
from music_agents.run.models import RoleModels, WrapModel

__all__ = ["Casting", "GraphFactory", "cast", "keep_ledger", "make_gates", "standard_graph"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Casting:
    """What a graph factory builds from.

    Attributes:
        roles: The roles as the run's settings have them.
        models: The models, metered and journaled: nodes that ask them are paid for once and counted.
        sampling: How they sample.
    """

    roles: Roles
    models: RoleModels
    sampling: Sampling


GraphFactory = Callable[[Casting], PairGraph]
"""Builds the graph of a run; `standard_graph` is the one that is used unless told otherwise."""


def standard_graph(casting: Casting) -> PairGraph:
    """Return the pair graph of the three roles."""
    return build_pair_graph(casting.roles)


def keep_ledger(models: RoleModels, journal: Journal, progress: RunProgress, earlier: Mapping[str, Usage]) -> WrapModel:
    """Open the account of every role; return what has a model's paid-for replies journaled, metered and charged.

    Args:
        models: Who plays which role.
        journal: Of the run.
        progress: Of the session.
        earlier: What earlier sessions spent, by role.

    Raises:
        InvalidInputError: The budget bounds the cost and a model's price is not known.
    """
    accounts = {
        role: progress.open_account(role, model.name, earlier.get(role)) for role, model in models.by_role().items()
    }

    def wrap(role: str, model: ChatModel) -> ChatModel:
        return JournaledModel(MeteredModel(model, progress, accounts[role]), journal, role)

    return wrap


def cast(models: RoleModels, config: SimulationConfig) -> Casting:
    """Return the roles that settings ask for.

    Raises:
        InvalidInputError: There is no model for the user, or none that a contrast needs.
    """
    if models.user is None:
        raise InvalidInputError("expected a model that plays the user, got none: name its endpoint (--user)")
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_reply_tokens)
    user = UserRole(models.user, sampling, gates=DEFAULT_USER_GATES if config.gates else ())
    assistant = AssistantRole(models.assistant, sampling)
    players = Cast(contrast=models.contrast, assistant=assistant, weaker=models.weaker, sampling=sampling)
    contrast = make_contrast(config.strategy, players, Schedule.parse(config.schedule))
    roles = Roles(user=SharedScript(user) if config.shared_script else user, assistant=assistant, contrast=contrast)
    return Casting(roles=roles, models=models, sampling=sampling)


def make_gates(models: RoleModels, config: SimulationConfig) -> tuple[PairGate, ...]:
    """Return the gates that finished pairs must pass, the cheap ones first."""
    text_gates = default_gates(config.refusals) if config.gates else ()
    judges = (JudgeGate(ModelJudge(model=models.judge), config.judge_share),) if models.judge else ()
    return (*text_gates, *judges)
