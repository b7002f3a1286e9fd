"""The shapes that rows of preference sets may have.

`sides` has those with a chosen and a rejected side, `comparisons` those of replies with a verdict, a score or a rank,
and `table` those of one conversation. `find_shape` finds the shape of a row, and `find_nearest` what a row lacks.
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
