import pytest

from music_trainers.experiment import pairs as pairs_module
from music_trainers.experiment.cell import CellWork, GridCell, fold_pairs
from music_trainers.experiment.learners import GradientLearner
from music_trainers.experiment.pairs import run_simulated, simulated_pairs, simulations

count_tokens = GradientLearner(None).count_tokens


@pytest.fixture(autouse=True)
def few_contexts(monkeypatch):
    monkeypatch.setattr(pairs_module, "NUM_CONTEXTS", 60)


@pytest.fixture
def gather(tmp_path):
    """Return the training pairs of a cell by source, simulated in full."""

    def gather(grid, name, seed=0):
        cell = GridCell.of(grid, grid.arm(name), seed)
        needed = cell.simulations()
        for simulation, num in needed.items():
            run_simulated(simulation, num, tmp_path)
        return fold_pairs(cell, CellWork(needed, tmp_path, None), count_tokens, 0)

    return gather


def test_token_matched_base_pairs_are_the_first_that_suffice(make_grid, gather):
    arms = {
        "music": {"pairs": {"base": 20, "instruction": 20}},
        "matched": {"pairs": {"base": 20}, "tokens_of": "music"},
    }
    grid = make_grid(arms)
    wanted, matched = gather(grid, "music"), gather(grid, "matched")
    assert list(matched) == ["base"]
    assert matched["base"][:20] == wanted["base"]
    in_all = sum(sum(count_tokens(some)) for some in wanted.values())
    assert sum(count_tokens(matched["base"])) >= in_all > sum(count_tokens(matched["base"][:-1]))


def test_contrasts_of_an_arm_have_contexts_of_their_own_and_those_of_other_arms(make_grid, gather):
    arms = {"music": {"pairs": {"instruction": 12}}, "mixture": {"pairs": {"instruction": 6, "drop_constraint": 6}}}
    grid = make_grid(arms)
    music, mixture = gather(grid, "music"), gather(grid, "mixture")
    assert mixture["instruction"] == music["instruction"][:6]
    opening = [pair.chosen.messages[:2] for pair in music["instruction"]]
    assert [pair.chosen.messages[:2] for some in mixture.values() for pair in some] == opening


def test_a_part_does_not_depend_on_how_many_were_simulated(make_grid, tmp_path):
    grid = make_grid({"a": {"pairs": {"instruction": 4}}})
    (simulation,) = simulations(grid.arm("a").settings, {"instruction": 4}, 0)
    for num in (4, 9):
        run_simulated(simulation, num, tmp_path)
    few, many = (simulated_pairs(simulation, num, slice(0, 4), tmp_path) for num in (4, 9))
    assert few == many


def test_settings_and_seeds_change_what_is_simulated(make_grid, gather):
    arms = {
        name: {"pairs": {"instruction": 6}, **more}
        for name, more in {
            "a": {},
            "short": {"num_turns": 2},
            "last": {"schedule": "last"},
            "weak": {"skill": "weak"},
        }.items()
    }
    grid = make_grid(arms)
    pairs = {name: gather(grid, name)["instruction"] for name in arms} | {"other": gather(grid, "a", 1)["instruction"]}
    assert {name: some[0].chosen.num_turns for name, some in pairs.items()} == {
        "a": 6,
        "short": 3,
        "last": 6,
        "weak": 6,
        "other": 6,
    }
    assert all(pair.chosen.messages[:-1] == pair.rejected.messages[:-1] for pair in pairs["last"])
    assert pairs["weak"] != pairs["a"] != pairs["other"]
