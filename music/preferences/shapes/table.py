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
    shapes: tuple[Shape | LoneShape, ...] = (*SHAPES, *LONE_SHAPES)
    return next(shape for shape in shapes if shape.format is format)


def find_nearest(fields: Fields) -> str:
    """Say which shapes a row of no shape is nearest to, and what it lacks; empty if it is near none."""
    complete = [shape for shape in SHAPES if not _missing(shape, fields)]
    partial = [shape for shape in SHAPES if 0 < len(_missing(shape, fields)) < len(shape.columns)]
    near = [f"{shape.format} ({shape.wants})" for shape in complete]
    if partial:
        shape = min(partial, key=lambda shape: len(_missing(shape, fields)) / len(shape.columns))
        missing = ", ".join(_missing(shape, fields))
        near.append(f"{shape.format} ({', '.join(shape.columns)}; missing: {missing})")
    return f"nearest: {', or '.join(near)}" if near else ""


def _missing(shape: Shape, fields: Fields) -> list[str]:
    return [name for name in shape.columns if fields.get(name) is None]
