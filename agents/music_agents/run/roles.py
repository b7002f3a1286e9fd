"""The parts of a run: the roles and gates of its config, and its journaled and metered models.

`WatchedContrast` stops a run whose contrast fails from the start, before it costs much.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from music.llm.cache import CachedModel, ReplyCache
from music.llm.chat import ChatModel
from music.llm.journal import Journal, JournaledModel
from music.llm.spending.budget import Budget, PriceTable
from music.llm.spending.ledger import Ledger
from music_agents.config import SimulationConfig
from music_agents.contrasts import Schedule, make_contrast
from music_agents.failures import FailureReason, RoleFailedError, advise
from music_agents.graph import PairGraph
from music_agents.progress import RunProgress, StopCause
from music_agents.progress.metering import MeteredModel
from music_agents.quality import JudgeGate, ModelJudge, PairGate, RefusalRule, default_gates
from music_agents.roles import (
    DEFAULT_USER_GATES,
    AssistantRole,
    RoleSet,
    RoleTurn,
    RoleView,
    SharedScript,
    Speaker,
    UserRole,
)
from music_agents.run.endpoints import Models, WrapModel
from music_agents.run_config import RunConfig

__all__ = ["MIN_LOST_TURNS", "GraphFactory", "WatchedContrast", "make_gates", "make_progress", "make_roles"]
__all__ += ["wrap_models"]

GraphFactory: TypeAlias = Callable[[RoleSet], PairGraph]
"""Builds the graph of a run; by default `build_pair_graph`."""

MIN_LOST_TURNS = 16
"""Failed contrasted turns, each with several attempts, before a run stops."""
MIN_YIELD = 0.005
"""Smallest share of pairs that a run must be able to keep: one in 200."""
_RULE_OF_THREE = 3.0
"""If none of n turns succeeded, the success rate is at most 3 / n with a confidence of 95 %."""
MIN_CALLS = 48
"""Calls that a session makes before it stops, as replayed failures show nothing new."""

_OF_THE_MODEL = frozenset(reason for reason in FailureReason if reason.startswith("reply_"))


def make_progress(config: RunConfig) -> RunProgress:
    """Return the progress of a session, with the budget and the prices of its config."""
    budget = Budget(max_cost=config.max_cost, max_total_tokens=config.max_total_tokens)
    return RunProgress(ledger=Ledger(budget, PriceTable.parse(config.prices)))


def make_roles(models: Models, config: SimulationConfig) -> RoleSet:
    """Return the roles of a config; without a model for the user, there is no user.

    Raises:
        InvalidInputError: A contrast needs a role without a model.
    """
    roles = RoleSet(
        assistant=AssistantRole(models["assistant"], config.sampling_of("assistant")),
        models=models,
        sampling={role: config.sampling_of(role) for role in models},
        contrast_format=config.contrast_format,
        contrast_template=config.contrast_template(),
    )
    roles = replace(roles, contrast=make_contrast(config.strategy, roles, Schedule.parse(config.schedule)))
    if "user" not in models:
        return roles
    gates = DEFAULT_USER_GATES if config.gates else ()
    user = UserRole(models["user"], config.sampling_of("user"), gates=gates, template=config.user_template())
    return replace(roles, user=SharedScript(user) if config.shared_script else user)


def make_gates(models: Models, config: SimulationConfig) -> tuple[PairGate, ...]:
    """Return the gates of finished pairs, the cheap ones first."""
    text_gates = default_gates(RefusalRule(config.refusals)) if config.gates else ()
    if "judge" not in models:
        return text_gates
    judge = ModelJudge(model=models["judge"], sampling=config.sampling_of("judge"))
    return (*text_gates, JudgeGate(judge, config.judge_share))


def wrap_models(models: Models, journal: Journal, progress: RunProgress, cache: ReplyCache | None = None) -> WrapModel:
    """Open the account of every role; return a function that journals, meters and charges the calls of a model.

    Args:
        models: Models by role.
        journal: Of the run.
        progress: Of the session.
        cache: Replies that runs share; None for no cache.

    Raises:
        InvalidInputError: The budget bounds the cost and a model's price is unknown.
    """
    progress.replies.update(journal.marks)
    accounts = {role: progress.open_account(role, model.name, journal) for role, model in models.items()}

    def wrap(role: str, model: ChatModel) -> ChatModel:
        account = accounts[role]
        metered: ChatModel = MeteredModel(model, progress, account)
        if cache is not None:
            metered = CachedModel(metered, cache, account, progress.note_replay)
        return JournaledModel(metered, journal, role, account.cost, progress.note_replay)

    return wrap


class WatchedContrast:
    """Wraps a contrast, and stops the run if all first turns fail because of the model's replies.

    Args:
        contrast: Answers on the rejected side.
        progress: Of the run.
        schedule: The contrasted turns; a pair is kept only if all of them are usable.
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
        """Count a failed turn, and stop the run if there are too many."""
        self._lost[error.reason] += 1
        num = self._lost.total()
        share_of_pairs = min(1.0, _RULE_OF_THREE / num) ** self._schedule.expected(view.num_turns)
        if num < MIN_LOST_TURNS or share_of_pairs >= MIN_YIELD or self._progress.num_calls < MIN_CALLS:
            return
        reason, times = self._lost.most_common(1)[0]
        detail = f"the contrast gave no usable reply in the first {num} turns, in {times} of them by {reason} ({error})"
        self._progress.stop(StopCause.STALLED, f"{detail}. {advise(reason)}")
