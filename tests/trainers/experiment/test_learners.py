"""Learners: any base with all weights or with a frozen backbone, on the sandbox as on files; and pairs that run out."""

import numpy as np
import pytest

from music.errors import InvalidInputError
from music.preferences import write_preferences
from music.reward import RewardModel
from music.sandbox.artifacts import BACKBONE, REWARD_MODEL
from music.sandbox.world.seeds import seed_pairs
from music_trainers.experiment import Grid
from music_trainers.experiment.cell import CellWork, GridCell, fold_pairs, measured_conversations, run_cell
from music_trainers.experiment.learners import GradientLearner, HeadLearner, HeadModel
from music_trainers.experiment.precompute import make_table
from music_trainers.experiment.states import read_table

SIZES = {"num_turns": 2, "num_defects": 1, "num_single_turn": 2, "num_conversations": 2}


@pytest.fixture
def make(tmp_path):
    """Return a maker of grids that draw from a file of 12 pairs."""
    path = tmp_path / "pairs.jsonl"
    write_preferences(seed_pairs(12, 0), path)

    def make(model, **arms):
        return Grid.model_validate(
            {
                "name": "g",
                "title": "G",
                "seeds": [0],
                "model": model,
                "sandbox": SIZES,
                "sources": {"s": {"files": [str(path)]}},
                "arms": [{"name": name, "settings": settings} for name, settings in arms.items()],
            }
        )

    return make


def cells_of(grid):
    return [GridCell.of(grid, arm, 0) for arm in grid.arms]


def compute(grid, folder):
    work = CellWork({}, folder, folder / "table.safetensors")
    make_table(work.table, grid.model, cells_of(grid), work, counting=None, on_notice=lambda _: None)
    return work


def test_all_weights_of_any_base_are_trained(make, tmp_path):
    grid = make({"base": str(BACKBONE), "learning_rate": 1e-3, "batch_size": 4}, a={"pairs": {"s": 12}})
    (cell,), work = cells_of(grid), CellWork({}, tmp_path, None)
    result = run_cell(cell, work)
    assert (result.num_pairs, result.num_steps) == ({"s": 12}, 3)
    assert len(result.values["single turns"]["last"]) == 2
    learner = GradientLearner(grid.model)
    pairs = fold_pairs(cell, work, learner.count_tokens, 0)
    heavy = learner.train(pairs, {"s": 2.0}, 0)
    assert heavy.num_steps == 6


def test_a_base_without_training_has_its_own_head(make, tmp_path):
    grid = make({"base": str(REWARD_MODEL), "freeze": "backbone"}, start={"pairs": {}}, a={"pairs": {"s": 12}})
    work = compute(grid, tmp_path)
    start, trained = (run_cell(cell, work) for cell in cells_of(grid))
    plain = run_cell(cells_of(make({"base": str(REWARD_MODEL)}, start={"pairs": {}}))[0], work)
    assert start.values == plain.values
    assert (start.num_steps, trained.num_pairs) == (0, {"s": 12})


def test_a_fitted_head_gives_the_rewards_of_its_backbone(make, tmp_path):
    """Rewards from the table, and those that greedy Best-of-N computes, are of one model."""
    grid = make({"base": str(BACKBONE), "freeze": "backbone"}, a={"pairs": {"s": 12}})
    work = compute(grid, tmp_path)
    (cell,) = cells_of(grid)
    learner = HeadLearner(grid.model, read_table(work.table))
    model = learner.train(fold_pairs(cell, work, learner.count_tokens, 0), {}, 0).model
    conversations = [each.conversation for each in measured_conversations(cell)][:6]
    from_table = [turns[-1] for turns in model.score_turns(conversations)]
    assert isinstance(model, HeadModel)
    assert np.allclose(from_table, model.score(conversations), atol=1e-4)
    assert np.std(from_table) > 0


def test_a_language_model_without_pairs_is_refused(make, tmp_path):
    grid = make({"base": str(BACKBONE), "freeze": "backbone"}, start={"pairs": {}})
    with pytest.raises(InvalidInputError, match=r"arms.start.pairs: expected pairs, got none: .* is a language model"):
        compute(grid, tmp_path)


def test_matched_pairs_are_as_many(make, tmp_path):
    grid = make(None, a={"pairs": {"s": 9}}, b={"pairs": {"s": 4}, "pairs_of": "a", "fill": "s"})
    a, b = (fold_pairs(cell, CellWork({}, tmp_path, None), lambda _: [], 0) for cell in cells_of(grid))
    assert a == b


def test_too_few_pairs_to_match_are_named(make, tmp_path):
    grid = make(None, a={"pairs": {"s": 9, "base": 9}}, b={"pairs": {"s": 4}, "pairs_of": "a", "fill": "s"})
    message = r"arms.b.fill: expected enough pairs of 's' for the 18 training pairs of 'a', but 6 pairs are missing"
    with pytest.raises(InvalidInputError, match=message):
        fold_pairs(cells_of(grid)[1], CellWork({}, tmp_path, None), lambda _: [], 0)


def test_the_base_of_the_rewards_is_the_grid_s(make, tmp_path):
    """Weights of the base that are written anew are used: nothing of other weights is left in the folder."""
    grid = make({"base": str(REWARD_MODEL), "freeze": "backbone"}, start={"pairs": {}})
    work = compute(grid, tmp_path)
    conversations = [each.conversation for each in measured_conversations(cells_of(grid)[0])][:3]
    states = read_table(work.table).turns(conversations[0])
    other = tmp_path / "other"
    model = RewardModel.from_pretrained(REWARD_MODEL)
    for weight in model._classifier.parameters():
        weight.data = weight.data * 1.1
    model.save_pretrained(other)
    changed = make({"base": str(other), "freeze": "backbone"}, start={"pairs": {}})
    elsewhere = CellWork({}, tmp_path, tmp_path / "second.safetensors")
    make_table(elsewhere.table, changed.model, cells_of(changed), elsewhere, counting=None, on_notice=lambda _: None)
    assert not np.allclose(read_table(elsewhere.table).turns(conversations[0]), states)
