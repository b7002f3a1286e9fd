"""The shapes of rows that preference sets have, in one table.

`sides` (chosen and rejected), `comparisons` (replies with a verdict, a score or a rank) and `table` (one conversation)
each hold a family. `find_shape` finds the shape of a row, `find_nearest` what a row lacks.
"""

from music.preferences.shapes.shape import Fields, Format, Found, Shape, Sides, parse_format
from music.preferences.shapes.table import (
    CONVERSATION_SHAPES,
    PAIR_FORMATS,
    ConversationShape,
    find_conversation_shape,
    find_nearest,
    find_shape,
    shape_named,
)

__all__ = [
    "CONVERSATION_SHAPES",
    "PAIR_FORMATS",
    "ConversationShape",
    "Fields",
    "Format",
    "Found",
    "Shape",
    "Sides",
    "find_conversation_shape",
    "find_nearest",
    "find_shape",
    "parse_format",
    "shape_named",
]
