"""A contrast that is watched: a run whose contrast comes to nothing stops before much money is spent."""

from collections import Counter

from music_agents.contrasts.schedule import Schedule
from music_agents.failures import FailureReason, RoleFailedError
from music_agents.progress import RunProgress, StopReason
from music_agents.remedies import advise
from music_agents.roles import Role, RoleTurn, RoleView

__all__ = ["MIN_LOST_TURNS", "WatchedContrast"]

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

    def __init__(self, contrast: Role, progress: RunProgress, schedule: Schedule) -> None:
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
        self._progress.stop(StopReason.STALLED, f"{told}. {advise(reason)}")
