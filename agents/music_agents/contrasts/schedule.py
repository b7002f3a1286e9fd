"""Schedules: which turns of the rejected side are contrasted."""

import random
import re
from dataclasses import dataclass
from typing import Any, Literal, Self

from music.errors import InvalidInputError
from music.seeding import derive_seed
from music_agents.contrasts.unprompted import answer_plainly
from music_agents.roles import RoleTurn, RoleView, Speaker

__all__ = ["ALL_TURNS", "Schedule", "ScheduledContrast"]

_WRITTEN = re.compile(r"(all|first|last)|turns:\s*(\d+(?:\s*,\s*\d+)*)|probability:\s*([\d.eE+-]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The simulated turns that are contrasted; they count from 1.

    Attributes:
        kind: How turns are chosen.
        turns: The turns of the kind `turns`.
        probability: Of each turn, drawn for each pair. If none is drawn, one turn is drawn uniformly, as the sides
            would be identical otherwise.
    """

    kind: Literal["all", "first", "last", "turns", "probability"] = "all"
    turns: tuple[int, ...] = ()
    probability: float = 1.0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a schedule: `all`, `first`, `last`, `turns:1,3` or `probability:0.5`.

        Raises:
            InvalidInputError: The text is none of these, or a number is out of range.
        """
        match = _WRITTEN.fullmatch(text.strip())
        try:
            schedule = cls._read(match) if match else None
        except ValueError:
            schedule = None
        if schedule is None:
            raise InvalidInputError(
                "expected all, first, last, turns:1,3 (counted from 1) or probability:0.5 (above 0, at most 1); "
                f"got {text!r}"
            )
        return schedule

    @classmethod
    def _read(cls, match: re.Match[str]) -> Self:
        """Build a schedule from its match.

        Raises:
            ValueError: A number is out of range.
        """
        word: Any = match[1]
        if word:
            return cls(kind=word)
        if match[2]:
            numbers = tuple(sorted(set(map(int, match[2].split(",")))))
            if numbers[0] < 1:
                raise ValueError
            return cls(kind="turns", turns=numbers)
        share = float(match[3])
        if not 0 < share <= 1:
            raise ValueError
        return cls(kind="probability", probability=share)

    def __str__(self) -> str:
        """Return the text of the schedule."""
        if self.kind == "turns":
            return f"turns:{','.join(map(str, self.turns))}"
        return f"probability:{self.probability:g}" if self.kind == "probability" else self.kind

    def check(self, num_turns: int) -> None:
        """Check that the schedule has a turn among those of a pair.

        Raises:
            InvalidInputError: It has none, so the sides of every pair would be identical.
        """
        if self.kind == "turns" and min(self.turns) > num_turns:
            raise InvalidInputError(f"schedule {self}: expected a turn out of 1 to {num_turns}, got none of them")

    def expected(self, num_turns: int) -> float:
        """Return the mean number of contrasted turns of a pair, at least 1."""
        if self.kind == "turns":
            return sum(turn <= num_turns for turn in self.turns)
        if self.kind == "probability":
            return max(1.0, self.probability * num_turns)
        return num_turns if self.kind == "all" else 1

    def turns_of(self, num_turns: int, pair: int, run_seed: int) -> frozenset[int]:
        """Return the contrasted turns of a pair, from 0; they depend on the arguments alone."""
        if self.kind == "turns":
            return frozenset(turn - 1 for turn in self.turns if turn <= num_turns)
        if self.kind == "probability":
            rng = random.Random(derive_seed(run_seed, pair, "schedule"))
            one = rng.randrange(num_turns)
            return frozenset(turn for turn in range(num_turns) if rng.random() < self.probability) or frozenset({one})
        return frozenset(range(num_turns)[{"all": slice(None), "first": slice(1), "last": slice(-1, None)}[self.kind]])

    def covers(self, view: RoleView) -> bool:
        """Return whether the turn is contrasted; the answer depends on the run's seed, the pair and the turn alone."""
        return view.turn in self.turns_of(view.num_turns, view.pair, view.run_seed)


ALL_TURNS = Schedule()
"""Every turn is contrasted, as in the paper."""


@dataclass(frozen=True, slots=True)
class ScheduledContrast:
    """A contrast in the turns of a schedule, and the plain assistant in the others.

    Attributes:
        contrast: Answers in the scheduled turns.
        assistant: Answers in the others (`answer_plainly`); those turns are not recorded as contrasted.
        schedule: The contrasted turns.
    """

    contrast: Speaker
    assistant: Speaker
    schedule: Schedule

    async def __call__(self, view: RoleView) -> RoleTurn:
        """Answer the turn."""
        return await (self.contrast(view) if self.schedule.covers(view) else answer_plainly(self.assistant, view))
