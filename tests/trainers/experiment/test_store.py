import pytest

from music.errors import InvalidInputError
from music_trainers.experiment.cell import GridCell
from music_trainers.experiment.process_pool import Failure
from music_trainers.experiment.store import CellStore


@pytest.fixture
def grid(make_grid):
    return make_grid({"a": {"pairs": {"base": 5}}, "b": {"pairs": {"base": 5, "instruction": 5}}})


def cells(grid):
    return [GridCell.of(grid, arm, seed) for (_, seed), arm in grid.runs().items()]


def test_what_is_kept_is_found_again(tmp_path, grid, make_result):
    store, kept = CellStore(tmp_path), make_result(grid, "a", 1, lambda *_: 0.25)
    assert store.read(cells(grid)) == {}
    store.add(kept)
    assert store.read(cells(grid)) == {("a", 1): kept}


def test_a_changed_grid_is_refused_and_said(tmp_path, grid, make_grid, make_result):
    store = CellStore(tmp_path)
    store.add(make_result(grid, "b", 0, lambda *_: 1.0))
    changed = make_grid({"b": {"pairs": {"base": 5, "instruction": 9}, "num_turns": 3}})
    with pytest.raises(
        InvalidInputError, match=r"b, seed 0: settings.pairs.instruction was 5, is 9; .*settings.num_turns was 5, is 3"
    ):
        store.read(cells(changed))


def test_an_arm_that_is_no_longer_there_is_no_matter(tmp_path, grid, make_grid, make_result):
    store = CellStore(tmp_path)
    store.add(make_result(grid, "b", 0, lambda *_: 1.0))
    assert store.read(cells(make_grid({"a": {"pairs": {"base": 5}}}))) == {}


def test_a_damaged_file_is_named(tmp_path, grid, make_result):
    store = CellStore(tmp_path)
    store.add(make_result(grid, "a", 0, lambda *_: 1.0))
    (path,) = tmp_path.rglob("seed-0.json")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InvalidInputError, match=r"cells/a/seed-0.json: expected the result of a cell"):
        store.read(cells(grid))


def test_arms_of_like_names_have_files_of_their_own(tmp_path, make_grid, make_result):
    store, grid = CellStore(tmp_path), make_grid({name: {"pairs": {}} for name in ("x: 1", "x/ 1", "x_ 1")})
    results = [make_result(grid, name, 0, lambda *_: 1.0) for name in ("x: 1", "x/ 1", "x_ 1")]
    for result in results:
        store.add(result)
    assert list(store.read(cells(grid)).values()) == results


def test_a_failure_is_kept_until_the_cell_comes_out_well(tmp_path, grid, make_result):
    store, result = CellStore(tmp_path), make_result(grid, "a", 0, lambda *_: 1.0)
    assert store.add_failure(result.cell, Failure("lost", "where")).error == "lost"
    assert [path.name for path in tmp_path.rglob("*.failed.json")] == ["seed-0.failed.json"]
    assert store.read(cells(grid)) == {}
    store.add(result)
    assert list(tmp_path.rglob("*.failed.json")) == []
