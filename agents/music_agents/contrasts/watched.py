"""A contrast that is watched: a run whose contrast comes to nothing stops before much money is spent."""

from collections import Counter

from music_agents.failures import FailureReason, RoleFailedError
from music_agents.progress import RunProgress, StopReason
from music_agents.remedies import remedy
from music_agents.roles import Role, RoleTurn, RoleView

__all__ = ["MAX_LOST_TURNS", "WatchedContrast"]

MAX_LOST_TURNS = 16
"""Contrasted turns, each asked for several times, of which not one came to a usable reply."""
MAX_LOST_PAIRS = 48
"""The same where a pair has one turn: one pair in thirty is slow there, and not hopeless."""
MIN_CALLS = 48
"""Calls that a session makes before it stops: failures that a resumed run replays say nothing new."""

_OF_THE_MODEL = frozenset(reason for reason in FailureReason if reason.startswith("reply_"))


class WatchedContrast:
    """Speaks as a contrast does, and stops the run if the first turns all fail by what the model writes.

    Args:
        contrast: Answers on the rejected side.
        progress: Of the run.
    """

    def __init__(self, contrast: Role, progress: RunProgress) -> None:
        self._contrast = contrast
        self._progress = progress
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
        bound = MAX_LOST_TURNS if view.num_turns > 1 else MAX_LOST_PAIRS
        if num < bound or self._progress.num_calls < MIN_CALLS:
            return
        reason, times = self._lost.most_common(1)[0]
        told = f"the contrast came to nothing in all of the first {num} turns, {times} of them by {reason} ({error})"
        self._progress.stop(StopReason.STALLED, f"{told}: {remedy(reason) or 'fix the cause and run again'}")
