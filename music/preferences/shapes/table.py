"""The table of all shapes, and finding a row's own in it."""

from music.preferences.shapes import choices, rankings, sides
from music.preferences.shapes.format import Format
from music.preferences.shapes.lone import LONE_SHAPES, LoneShape
from music.preferences.shapes.shape import Fields, Shape

__all__ = ["PAIR_FORMATS", "find_lone_shape", "find_nearest", "find_shape", "shape_named"]

SHAPES: tuple[Shape, ...] = (*sides.SHAPES, *choices.SHAPES, *rankings.SHAPES)
PAIR_FORMATS = tuple(dict.fromkeys(shape.format for shape in SHAPES))
"""The formats of pairs, each once."""


def find_shape(fields: Fields) -> Shape | None:
    """Return the first shape of pairs that a row is of."""
    return next((shape for shape in SHAPES if shape.is_shape_of(fields)), None)


def find_lone_shape(fields: Fields) -> LoneShape | None:
    """Return the shape of a row that is one conversation."""
    return next((shape for shape in LONE_SHAPES if shape.is_shape_of(fields)), None)


def shape_named(format: Format) -> Shape | LoneShape:
    """Return the shape of a format; where there are several, the first, whose reader reads them all."""
    return next(shape for shape in (*SHAPES, *LONE_SHAPES) if shape.format is format)


def find_nearest(fields: Fields) -> str:
    """Say which shape a row of no shape is nearest to, and what it lacks; empty if it is near none."""

    def share(shape: Shape) -> float:
        return sum(fields.get(name) is not None for name in shape.columns) / len(shape.columns)

    complete = [shape for shape in SHAPES if share(shape) == 1]
    if complete:
        wanted = "; or ".join(f"{shape.format} ({shape.wants})" for shape in complete)
        return f"nearest: {wanted}"
    shape = max(SHAPES, key=share)
    if not share(shape):
        return ""
    missing = ", ".join(name for name in shape.columns if fields.get(name) is None)
    return f"nearest: {shape.format} ({', '.join(shape.columns)}); missing: {missing}"
