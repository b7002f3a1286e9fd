"""The files of a grid: what is wrong with them is said before anything is computed, by the TOML key."""

import json
import shutil

import pytest

from music.errors import InvalidInputError
from music.preferences import write_preferences
from music.sandbox.artifacts import REWARD_MODEL
from music.sandbox.world.seeds import seed_pairs
from music_trainers.experiment import Grid
from music_trainers.experiment.arm import ModelSettings
from music_trainers.experiment.cell import GridCell, measured_conversations
from music_trainers.experiment.content import GridContent
from music_trainers.experiment.learners import load_start
from music_trainers.experiment.measures import item_value, read_measure
from music_trainers.experiment.states import require_scorable

LONGER = ["chosen side longer", "rejected side longer"]


@pytest.fixture
def make(tmp_path):
    """Return a maker of grids on a file of 9 pairs, with changes to the tables."""
    path = tmp_path / "pairs.jsonl"
    write_preferences(seed_pairs(9, 0, single_turn_share=1.0), path)

    def make(pairs=None, **measure):
        return Grid.model_validate(
            {
                "name": "g",
                "title": "G",
                "seeds": [0],
                "sources": {"s": {"files": [str(path)]}},
                "arms": [{"name": "a", "settings": {"pairs": pairs or {"s": 9}}}],
                "measures": {"m": {"benchmark": "preferences", "files": [str(path)]} | measure},
            }
        )

    return make


def test_what_was_read_is_on_record(make):
    content = GridContent.read(make())
    assert content.record.num_pairs == {"s": 9}
    assert list(content.notices()) == ["sources.s: 9 pairs", "measures.m: 9 items of 9 prompts"]
    (info,) = content.infos
    assert (info.name, info.unit, info.by_readout, len(info.clusters)) == ("m", "share", False, 9)
    assert content.record.hashes.keys() == {"sources.s", "measures.m"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pairs": {"s": 10}}, r"arms.a.pairs.s: expected at most 9 pairs, as many as are in .*pairs.jsonl; got 10"),
        ({"files": ["no/such.jsonl"]}, r"measures.m.files: no/such.jsonl: expected a file"),
        ({"benchmark": "preference"}, r"measures.m.benchmark: expected .*got 'preference'; did you mean 'preferences'"),
        ({"where": {"turn": 1}}, r"measures.m.where: expected tags out of longer, subset, turns, got 'turn'"),
        ({"where_not": {"turnz": 1}}, r"measures.m.where_not: .*got 'turnz'; did you mean 'turns'"),
        (
            {"where": {"turns": 7}},
            r"measures.m: expected items of .*pairs.jsonl whose labels differ, got none: .* 9 items, of which 0 pass",
        ),
    ],
)
def test_what_is_wrong_is_named(make, changes, message):
    with pytest.raises(InvalidInputError, match=message):
        GridContent.read(make(**changes))


def test_a_source_that_is_not_there_is_named(make):
    grid = make()
    grid = grid.model_copy(
        update={"sources": {"s": grid.sources["s"].model_copy(update={"files": ("nowhere.jsonl",)})}}
    )
    with pytest.raises(InvalidInputError, match=r"sources\.s\.files: nowhere\.jsonl: expected a file"):
        GridContent.read(grid)


def measured_conversations_that_the_model_cannot_score_are_counted_and_named(make):
    grid = make()
    tests = list(measured_conversations(GridCell.of(grid, grid.arms[0], 0)))
    tokens = load_start(None).tokens.with_contract(max_length=20)
    with pytest.raises(
        InvalidInputError, match=r"measures.m: item \S+: .* got \d+ of 18 .*over_long.* raise model.max_length"
    ):
        require_scorable(tokens, tests)


def test_where_takes_one_value_or_several(make):
    sides = [read_measure("m", make(where={"longer": value}).measures["m"]).info.clusters for value in LONGER]
    both = read_measure("m", make(where={"longer": LONGER}).measures["m"]).info.clusters
    assert sorted(both) == sorted([*sides[0], *sides[1]])
    others = read_measure("m", make(where_not={"longer": LONGER[0]}).measures["m"]).info.clusters
    assert not {*others} & {*sides[0]}
    assert {*others} >= {*sides[1]}


def test_items_whose_labels_do_not_differ_are_left_out_and_named(make, tmp_path):
    talk = [{"role": role, "content": f"{role} {turn}"} for turn in (1, 2) for role in ("user", "assistant")]
    rows = [
        {"id": name, "messages": talk, "labels": labels}
        for name, labels in (("x", [1, 0]), ("y", [1, 1]), ("z", [1, None]))
    ]
    (tmp_path / "turns.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    content = GridContent.read(make(benchmark="turn_labels", files=[str(tmp_path / "turns.jsonl")], value="selected"))
    account = content.record.measures["m"]
    assert (account.num_items, account.without_order) == (1, ("y", "z"))
    assert list(content.notices())[1].endswith("left out because their labels do not differ: 2 (y, z)")
    assert (content.infos[0].unit, content.infos[0].by_readout) == ("share", True)


def test_a_limit_draws_some_prompts(make):
    drawn, every = (read_measure("m", make(**limit).measures["m"]).info.clusters for limit in ({"limit": 4}, {}))
    assert len(drawn) == 4
    assert {*drawn} < {*every}


@pytest.mark.parametrize(
    ("labels", "scores", "order", "selected"),
    [
        ((1.0, 0.0), (0.3, 0.2), 1.0, 1.0),
        ((1.0, 0.0), (0.2, 0.2), 0.0, 0.5),
        ((0.0, 0.5, 1.0), (0.1, 0.3, 0.2), 2 / 3, 0.5),
        ((0.0, 0.0, 1.0), (0.4, 0.1, 0.2), 0.5, 0.0),
        ((0.7, float("nan"), 0.2), (0.1, 0.9, 0.3), 0.0, 0.2),
    ],
)
def test_the_value_of_an_item(labels, scores, order, selected):
    assert item_value("order", labels, scores) == pytest.approx(order)
    assert item_value("selected", labels, scores) == pytest.approx(selected)


def test_other_weights_of_the_base_are_other_content(make, tmp_path):
    shutil.copytree(REWARD_MODEL, tmp_path / "base")
    grid = make().model_copy(update={"model": ModelSettings(base=str(tmp_path / "base"))})
    before = GridContent.read(grid).record.hashes["model.base"]
    weights = tmp_path / "base" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert GridContent.read(grid).record.hashes["model.base"] != before
