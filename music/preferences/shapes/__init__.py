"""The shapes of rows that preference sets have, in one table.

`sides` (chosen and rejected), `choices` (two replies and a verdict), `rankings` (several replies with a rank each) and
`lone` (one conversation) each hold a family. `find_shape` tells the shape of a row, `find_nearest` what a row lacks.
"""

from music.preferences.shapes.format import Format, parse_format
from music.preferences.shapes.lone import LONE_SHAPES, LoneShape
from music.preferences.shapes.shape import Fields, Found, Shape, Sides
from music.preferences.shapes.table import PAIR_FORMATS, find_lone_shape, find_nearest, find_shape, shape_named

__all__ = [
    "LONE_SHAPES",
    "PAIR_FORMATS",
    "Fields",
    "Format",
    "Found",
    "LoneShape",
    "Shape",
    "Sides",
    "find_lone_shape",
    "find_nearest",
    "find_shape",
    "parse_format",
    "shape_named",
]
