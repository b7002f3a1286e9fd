import gc
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from music.gc import relaxed


@pytest.fixture
def thresholds():
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield gc.get_threshold()
    gc.set_threshold(*before)


def num_collections(num_objects):
    """Keep so many objects alive that garbage collection looks at, and return how often it ran meanwhile."""
    before = sum(generation["collections"] for generation in gc.get_stats())
    kept = [[] for _ in range(num_objects)]
    after = sum(generation["collections"] for generation in gc.get_stats())
    assert len(kept) == num_objects
    return after - before


def test_garbage_is_hardly_collected_within_and_as_before_afterwards(thresholds):
    assert num_collections(50_000) > 50
    with relaxed():
        assert num_collections(50_000) <= 1
    assert num_collections(50_000) > 50


def test_memory_is_still_bounded_within(thresholds):
    with relaxed():
        assert num_collections(600_000) >= 1


def test_error_within_leaves_the_thresholds_as_they_were(thresholds):
    with pytest.raises(ValueError, match="no"), relaxed():
        raise ValueError("no")
    assert gc.get_threshold() == thresholds


def test_blocks_that_overlap_in_threads_end_with_the_last(thresholds):
    first_is_open, second_is_open, first_is_closed = Event(), Event(), Event()

    def first():
        with relaxed():
            first_is_open.set()
            second_is_open.wait()
        first_is_closed.set()

    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(first)
        first_is_open.wait()
        with relaxed():
            second_is_open.set()
            first_is_closed.wait()
            assert gc.get_threshold() != thresholds
        ended.result()
    assert gc.get_threshold() == thresholds
