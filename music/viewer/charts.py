"""`RewardView`, what a page shows of a model's rewards, and `chart_of`, a line chart of them as coordinates.

The chosen side is a solid line with round marks, the rejected one a dashed line with square marks, so that they can be
distinguished without colour.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from music.viewer.records import Record
from music.viewer.rewards import PairRewards
from music.viewer.turns import facts_of

__all__ = ["Chart", "Line", "Point", "RewardView", "chart_of", "reward_view"]

WIDTH, HEIGHT = 420, 170
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 66, 12, 24
_LABEL_GAP = 15
_MAX_TICKS = 12


@dataclass(frozen=True, slots=True)
class Point:
    """A reward in the chart.

    Attributes:
        x: Its place from the left.
        y: Its place from the top.
        turn: The number of the turn.
        reward: The reward.
    """

    x: float
    y: float
    turn: int
    reward: float


@dataclass(frozen=True, slots=True)
class Line:
    """The rewards of a side.

    Attributes:
        name: The side.
        points: One for each assistant turn.
        label_y: The place of its name from the top.
    """

    name: str
    points: tuple[Point, ...]
    label_y: float

    @property
    def path(self) -> str:
        """The points as SVG writes them."""
        return " ".join(f"{point.x:.1f},{point.y:.1f}" for point in self.points)

    def text_of(self, turn: int) -> str:
        """Return the reward after a turn, as text."""
        return next((f"{point.reward:.4g}" for point in self.points if point.turn == turn), "–")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A line chart.

    Attributes:
        lines: The chosen side, then the rejected one.
        ticks: Places from the top and texts on the left.
        turns: Places from the left and numbers of turns below.
        diverging: The place from the left where the sides first differ; None if they do nowhere.
    """

    lines: tuple[Line, Line]
    ticks: tuple[tuple[float, str], ...]
    turns: tuple[tuple[float, int], ...]
    diverging: float | None
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = HEIGHT - _BOTTOM

    @property
    def all_turns(self) -> list[int]:
        """The numbers of all turns that have a reward."""
        return sorted({point.turn for line in self.lines for point in line.points})


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardView:
    """A model's rewards of a pair.

    Attributes:
        name: The model.
        rewards: Its rewards; None if they are to come.
        chart: Their chart; None for none.
        state: Why they are to come.
    """

    name: str
    rewards: PairRewards | None
    chart: Chart | None
    state: str

    @property
    def is_pending(self) -> bool:
        """Whether rewards are to come."""
        return self.rewards is None

    @property
    def margin(self) -> float | None:
        """The score of the chosen side less that of the rejected one; None for none."""
        return self.rewards.margin if self.rewards else None

    @property
    def verdict(self) -> str:
        """Which side the model prefers, in words."""
        margin = self.margin or 0.0
        return "prefers chosen" if margin > 0 else "prefers rejected" if margin < 0 else "prefers neither"

    @property
    def text(self) -> str:
        """Why there is no margin."""
        return f"no rewards: {self.rewards.problem}" if self.rewards else self.state


def reward_view(name: str, rewards: PairRewards | None, record: Record, state: str) -> RewardView:
    """Return what a page shows of a model's rewards of a pair."""
    chart = chart_of(rewards, record, facts_of(record).diverging_turn) if rewards else None
    return RewardView(name=name, rewards=rewards, chart=chart, state=state)


def chart_of(rewards: PairRewards, record: Record, first_difference: int | None) -> Chart | None:
    """Return the chart of a pair's rewards; None if it has none."""
    sides = (rewards.chosen, rewards.rejected)
    values = [value for side in sides for value in side]
    if not all(sides):
        return None
    numbers = [_turn_numbers(record, place, len(side)) for place, side in enumerate(sides)]
    low, high = min(values), max(values)
    pad = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    low, high = low - pad, high + pad
    turns = sorted({number for side in numbers for number in side})
    step = (WIDTH - _LEFT - _RIGHT) / max(1, turns[-1] - turns[0])

    def x(turn: int) -> float:
        return _LEFT + (turn - turns[0]) * step if len(turns) > 1 else (_LEFT + WIDTH - _RIGHT) / 2

    def y(value: float) -> float:
        return _TOP + (high - value) / (high - low) * (HEIGHT - _TOP - _BOTTOM)

    points = [
        tuple(Point(x(turn), y(value), turn, value) for turn, value in zip(numbers[place], side, strict=True))
        for place, side in enumerate(sides)
    ]
    shown = turns[:: -(-len(turns) // _MAX_TICKS)]
    ticks = [*{min(values), max(values)}, *([0.0] if low < 0 < high and min(map(abs, (low, high))) > pad * 3 else [])]
    first = next((turn for turn in turns if first_difference is not None and turn >= first_difference), None)
    return Chart(
        lines=_lines(points),
        ticks=tuple((y(value), f"{value:.3g}") for value in ticks),
        turns=tuple((x(turn), turn) for turn in shown),
        diverging=None if first is None else x(first),
    )


def _lines(points: Sequence[tuple[Point, ...]]) -> tuple[Line, Line]:
    """Return the lines, their names at their ends and apart from each other."""
    ends = [line[-1].y for line in points]
    apart = max(0.0, _LABEL_GAP - abs(ends[0] - ends[1])) / 2
    up = 0 if ends[0] <= ends[1] else 1
    places = [end + (-apart if place == up else apart) for place, end in enumerate(ends)]
    return Line("chosen", points[0], places[0]), Line("rejected", points[1], places[1])


def _turn_numbers(record: Record, side: int, num: int) -> list[int]:
    """Return the numbers of the turns that end with an assistant message: of the user message before each."""
    roles = [message.role for message in record.sides[side].messages]
    following = [*roles[1:], "user"]
    ends = [end for end, role in enumerate(roles) if role == "assistant" and following[end] == "user"]
    numbers = [roles[: end + 1].count("user") for end in ends]
    return numbers if len(numbers) == num else list(range(1, num + 1))
