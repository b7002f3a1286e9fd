"""The curves of a policy's training as an SVG: the judge, the reward and the divergence side by side, by step."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from music.evaluation import Estimate
from music_trainers.policy.records import PolicyTrainingResult

__all__ = ["draw_chart", "write_chart"]

WIDTH, HEIGHT, TOP, BOTTOM, LEFT, RIGHT = 300, 300, 58, 44, 44, 12
BLUE, GREY = "#3b82f6", "#6b7280"

Places = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One curve, with its 95% interval.

    Attributes:
        title: What is drawn.
        steps: Shape `[n]`.
        estimates: Shape `[n]`.
        levels: Horizontal lines to compare with, by what they are.
    """

    title: str
    steps: Sequence[int]
    estimates: Sequence[Estimate]
    levels: dict[str, float]

    def draw(self, left: float, marks: dict[str, int]) -> list[str]:
        """Return the panel's elements, moved to its place; `marks` are vertical lines, by what they are."""
        parts = [*self._axes(), *self._marks(marks), *self._curve(), _text(LEFT, TOP - 34, self.title, bold=True)]
        return [f'<g transform="translate({left:g} 0)">', *parts, "</g>"]

    @property
    def _range(self) -> tuple[float, float]:
        values = [*self.levels.values(), *(end for e in self.estimates for end in (e.low, e.high))]
        low, high = min(values), max(values)
        room = 0.06 * (high - low) or 0.5
        return low - room, high + room

    def _x(self, step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * step / max(1, self.steps[-1])

    def _y(self, value: float) -> float:
        low, high = self._range
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / (high - low)

    def _axes(self) -> list[str]:
        low, high = self._range
        bottom = HEIGHT - BOTTOM
        parts = [_line(LEFT, bottom, WIDTH - RIGHT, bottom), _line(LEFT, TOP, LEFT, bottom)]
        for value in (low + (high - low) * share for share in (0.06, 0.5, 0.94)):
            parts.append(_text(LEFT - 5, self._y(value) + 4, f"{value:.2f}", anchor="end"))
        for step in sorted({0, self.steps[len(self.steps) // 2], self.steps[-1]}):
            parts.append(_text(self._x(step), bottom + 16, str(step), anchor="middle"))
        return [*parts, _text((LEFT + WIDTH - RIGHT) / 2, bottom + 34, "step", anchor="middle")]

    def _marks(self, marks: dict[str, int]) -> list[str]:
        parts = []
        for row, (name, step) in enumerate(marks.items()):
            x, is_late = self._x(step), step > self.steps[-1] / 2
            label = _text(x + (-4 if is_late else 4), TOP - 4 - 12 * row, name, anchor="end" if is_late else "start")
            parts += [_line(x, TOP - 12 * row - 4, x, HEIGHT - BOTTOM, dash="2 3"), label]
        for name, value in self.levels.items():
            y = self._y(value)
            parts += [
                _line(LEFT, y, WIDTH - RIGHT, y, dash="5 3"),
                _text(WIDTH - RIGHT, y + 14, name, anchor="end"),
            ]
        return parts

    def _curve(self) -> list[str]:
        places = list(zip(map(self._x, self.steps), self.estimates, strict=True))
        band = [(x, self._y(e.high)) for x, e in places] + [(x, self._y(e.low)) for x, e in reversed(places)]
        middle = [(x, self._y(e.value)) for x, e in places]
        return [
            f'<polygon points="{_points(band)}" fill="{BLUE}" fill-opacity="0.2"/>',
            f'<polyline points="{_points(middle)}" fill="none" stroke="{BLUE}" stroke-width="1.8"/>',
            *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{BLUE}"/>' for x, y in middle),
        ]


def draw_chart(result: PolicyTrainingResult) -> str:
    """Return the curves as an SVG document."""
    panels = _panels(result)
    found = result.overoptimisation
    marks = {}
    if found is not None:
        marks["best"] = found.best_step
        if found.sets_in is not None:
            marks["over-optimised"] = found.sets_in
    width = WIDTH * len(panels)
    parts = [part for place, panel in enumerate(panels) for part in panel.draw(place * WIDTH, marks)]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12" role="img" aria-label="{", ".join(panel.title for panel in panels)}, by step">'
    )
    return "\n".join([head, f'<rect width="{width}" height="{HEIGHT}" fill="#ffffff"/>', *parts, "</svg>"]) + "\n"


def write_chart(result: PolicyTrainingResult, path: Path) -> None:
    """Write the curves as an SVG file."""
    path.write_text(draw_chart(result), encoding="utf-8")


def _panels(result: PolicyTrainingResult) -> list[Panel]:
    """Return the curves that the run has."""
    steps = [point.step for point in result.curve]
    grades = [point.grade for point in result.curve if point.grade]
    rewards = [point.reward for point in result.curve]
    kls = [point.kl for point in result.curve if point.kl]
    panels = [
        Panel(title="learned reward", steps=steps, estimates=rewards, levels={}),
        Panel(title="KL to the start, nats a reply", steps=steps, estimates=kls, levels={}),
    ]
    if not grades:
        return panels
    bar = result.greedy_before.grade
    levels = {"start, greedy": bar.value} if bar else {}
    return [Panel(title="judge's grade", steps=steps, estimates=grades, levels=levels), *panels]


def _points(places: Places) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _line(x1: float, y1: float, x2: float, y2: float, dash: str = "") -> str:
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{GREY}"{dashes}/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="#222222"{weight}>{escape(text)}</text>'
