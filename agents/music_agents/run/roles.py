"""Casting: from models and settings to the roles of a run, its graph and its gates."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from music.errors import InvalidInputError
from music.llm.cache import CachedModel, ReplyCache
from music.llm.chat import ChatModel, Sampling
from music.llm.journal import Journal, JournaledModel
from music_agents.config import SimulationConfig
from music_agents.contrasts import Cast, Schedule, make_contrast
from music_agents.failures import FailureReason, RoleFailedError, advise
from music_agents.graph import PairGraph, build_pair_graph
from music_agents.progress import RunProgress, StopCause
from music_agents.progress.metering import MeteredModel
from music_agents.quality import JudgeGate, ModelJudge, PairGate, default_gates
from music_agents.roles import Roles, RoleTurn, RoleView, Speaker
from music_agents.roles.model_roles import AssistantRole, SharedScript, UserRole
from music_agents.roles.user_gates import DEFAULT_USER_GATES
from music_agents.run.endpoints import RoleModels, WrapModel

__all__ = [
    "MIN_LOST_TURNS",
    "Casting",
    "GraphFactory",
    "WatchedContrast",
    "cast",
    "cast_contrasts",
    "make_gates",
    "standard_graph",
    "wrap_models",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Casting:
    """What a graph factory builds from.

    Attributes:
        roles: The roles as the run's settings have them.
        models: The models, metered and journaled: nodes that ask them are paid for once and counted.
        sampling: How the models sample, but for roles with settings of their own.
        own_sampling: How those do, by role.
    """

    roles: Roles
    models: RoleModels
    sampling: Sampling
    own_sampling: Mapping[str, Sampling] = field(default_factory=dict)

    def sampling_of(self, role: str) -> Sampling:
        """Return how a role's model samples."""
        return self.own_sampling.get(role, self.sampling)


GraphFactory = Callable[[Casting], PairGraph]
"""Builds the graph of a run; `standard_graph` is the one that is used unless told otherwise."""


def standard_graph(casting: Casting) -> PairGraph:
    """Return the pair graph of the three roles."""
    return build_pair_graph(casting.roles)


def wrap_models(
    models: RoleModels, journal: Journal, progress: RunProgress, cache: ReplyCache | None = None
) -> WrapModel:
    """Open the account of every role; return what has a model's paid-for replies journaled, metered and charged.

    Args:
        models: Who plays which role.
        journal: Of the run.
        progress: Of the session.
        cache: What other runs asked and need not be paid for again; None for nothing.

    Raises:
        InvalidInputError: The budget bounds the cost and a model's price is not known.
    """
    progress.replies.update(journal.marks)
    accounts = {role: progress.open_account(role, model.name, journal) for role, model in models.by_role().items()}

    def wrap(role: str, model: ChatModel) -> ChatModel:
        account = accounts[role]
        metered: ChatModel = MeteredModel(model, progress, account)
        if cache is not None:
            metered = CachedModel(metered, cache, account, progress.note_replay)
        return JournaledModel(metered, journal, role, account.cost, progress.note_replay)

    return wrap


def cast(models: RoleModels, config: SimulationConfig) -> Casting:
    """Return the roles that settings ask for.

    Raises:
        InvalidInputError: There is no model for the user, or none that a contrast needs.
    """
    if models.user is None:
        raise InvalidInputError("expected a model that plays the user, got none: name its endpoint (--user)")
    gates = DEFAULT_USER_GATES if config.gates else ()
    user = UserRole(models.user, config.sampling_of("user"), gates=gates, template=config.user_template())
    players = cast_contrasts(models, config)
    contrast = make_contrast(config.strategy, players, Schedule.parse(config.schedule))
    turns = SharedScript(user) if config.shared_script else user
    roles = Roles(user=turns, assistant=players.assistant, contrast=contrast)
    usual = Sampling(temperature=config.temperature, max_tokens=config.max_reply_tokens)
    return Casting(roles=roles, models=models, sampling=usual, own_sampling=config.sampling)


def cast_contrasts(models: RoleModels, config: SimulationConfig) -> Cast:
    """Return who plays contrasts."""
    return Cast(
        contrast=models.contrast,
        assistant=AssistantRole(models.assistant, config.sampling_of("assistant")),
        weaker=models.weaker,
        sampling=config.sampling_of("contrast"),
        weaker_sampling=config.sampling_of("weaker"),
        form=config.contrast_format,
        template=config.contrast_template(),
    )


def make_gates(models: RoleModels, config: SimulationConfig) -> tuple[PairGate, ...]:
    """Return the gates that finished pairs must pass, the cheap ones first."""
    text_gates = default_gates(config.refusals) if config.gates else ()
    if models.judge is None:
        return text_gates
    judge = ModelJudge(model=models.judge, sampling=config.sampling_of("judge"))
    return (*text_gates, JudgeGate(judge, config.judge_share))


MIN_LOST_TURNS = 16
"""Contrasted turns, each asked for several times, that must be lost before a run is given up."""
MIN_YIELD = 0.005
"""Share of pairs that a run must be able to keep: one in 200 is slow, and less is hopeless."""
_RULE_OF_THREE = 3.0
"""Where none of n came out well, at most 3 / n do, with a confidence of 95 %."""
MIN_CALLS = 48
"""Calls that a session makes before it stops: failures that a resumed run replays say nothing new."""

_OF_THE_MODEL = frozenset(reason for reason in FailureReason if reason.startswith("reply_"))


class WatchedContrast:
    """Speaks as a contrast does, and stops the run if the first turns all fail by what the model writes.

    Args:
        contrast: Answers on the rejected side.
        progress: Of the run.
        schedule: The turns that are contrasted: all of them must be usable for a pair to be kept.
    """

    def __init__(self, contrast: Speaker, progress: RunProgress, schedule: Schedule) -> None:
        self._contrast = contrast
        self._progress = progress
        self._schedule = schedule
        self._lost: Counter[FailureReason] = Counter()
        self._is_able = False

    async def __call__(self, view: RoleView) -> RoleTurn:
        """Answer the user."""
        try:
            turn = await self._contrast(view)
        except RoleFailedError as error:
            if not self._is_able and error.reason in _OF_THE_MODEL:
                self._note(error, view)
            raise
        self._is_able |= turn.contrast is not None
        return turn

    def _note(self, error: RoleFailedError, view: RoleView) -> None:
        """Count a lost turn, and stop the run if there were too many."""
        self._lost[error.reason] += 1
        num = self._lost.total()
        share_of_pairs = min(1.0, _RULE_OF_THREE / num) ** self._schedule.expected(view.num_turns)
        if num < MIN_LOST_TURNS or share_of_pairs >= MIN_YIELD or self._progress.num_calls < MIN_CALLS:
            return
        reason, times = self._lost.most_common(1)[0]
        told = f"the contrast gave no usable reply in the first {num} turns, in {times} of them by {reason} ({error})"
        self._progress.stop(StopCause.STALLED, f"{told}. {advise(reason)}")
