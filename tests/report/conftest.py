from collections.abc import Callable
from typing import Any

import pytest

from music.report import Point
from music.statistics import Estimate


@pytest.fixture(scope="session")
def point() -> Callable[..., Point]:
    """Return a maker of points whose intervals reach 0.04 to both sides."""

    def make(place: str | float, value: float, **fields: Any) -> Point:
        return Point(place=place, estimate=Estimate(value, value - 0.04, value + 0.04, 30), **fields)

    return make
