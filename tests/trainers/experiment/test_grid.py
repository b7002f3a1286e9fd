import re
from pathlib import Path

import pytest

from music.errors import InvalidInputError
from music_trainers.experiment import read_grid
from music_trainers.experiment.grid import GRIDS

HEAD = """
name = "mine"
title = "Mine"
seeds = [0]
[sandbox]
num_defects = 1
num_single_turn = 1
num_conversations = 2
"""

ARM = "[arms.a]\npairs = {}\n"
HYPOTHESIS = """
[arms.a]
pairs = {{}}
[arms.b]
pairs = {{}}
[hypotheses.H]
statement = "One is better."
arm = "{arm}"
control = "{control}"
measure = "{measure}"
direction = "higher"
"""


@pytest.fixture
def read(tmp_path):
    def read(text):
        """Read a grid; text without a table is of the grid itself."""
        path = tmp_path / "grid.toml"
        path.write_text(HEAD + text if "[arms" in text or text.startswith("arms") else f"{text}\n{HEAD}{ARM}")
        return read_grid(path)

    return read


@pytest.mark.parametrize("name", ["default", "ablations"])
def test_the_grids_that_ship_are_sound_whole_and_quick(name):
    grid = read_grid(GRIDS / f"{name}.toml")
    assert len(grid.quick().runs()) == 2 * len({arm for arm, _ in grid.runs()})
    assert sum(grid.quick().arm("music").settings.pairs.values()) * 10 < 3100


def test_the_two_grids_share_the_cells_of_their_common_arms():
    first, second = (read_grid(GRIDS / f"{name}.toml") for name in ("default", "ablations"))
    common = first.runs().keys() & second.runs().keys()
    assert {name for name, _ in common} == {"base", "last-turn", "music", "mixture"}
    assert all(first.runs()[key].settings == second.runs()[key].settings for key in common)
    assert first.sandbox == second.sandbox


def test_the_default_grid_has_the_controls_with_five_seeds():
    grid = read_grid(GRIDS / "default.toml")
    assert len(grid.seeds) >= 5
    assert grid.arm("music").against == ("base", "pair-matched", "token-matched", "last-turn")
    music, matched = grid.arm("music").settings, grid.arm("pair-matched").settings
    assert sum(matched.pairs.values()) == sum(music.pairs.values())
    assert grid.contrasts(matched) == {}
    assert grid.arm("token-matched").settings.tokens_of == "music"
    last = grid.arm("last-turn").settings
    assert last.model_copy(update={"schedule": "all"}) == music


def test_a_variation_that_an_arm_has_already_is_that_arm(read):
    grid = read(
        """
[arms.base]
pairs = { base = 5 }
[arms.music]
pairs = { base = 5, instruction = 8 }
[ablations.dose]
of = "music"
axis = "pairs"
[ablations.dose.variations]
0 = { pairs = { base = 5 } }
4 = { pairs = { base = 5, instruction = 4 } }
8 = {}
"""
    )
    assert {label: arm.name for label, arm in grid.variations("dose").items()} == {
        "0": "base",
        "4": "dose: 4",
        "8": "music",
    }
    assert list(grid.runs()) == [("base", 0), ("music", 0), ("dose: 4", 0)]


def test_the_grid_in_the_docs_is_sound(tmp_path):
    page = (Path(__file__).parents[3] / "docs" / "experiment.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    assert len(read_grid(tmp_path / "mine.toml").runs()) == 3 * 5


def test_fewer_seeds_for_an_ablation(make_grid):
    ablations = {"turns": {"of": "a", "axis": "T", "num_seeds": 1, "variations": {"2": {"num_turns": 2}}}}
    grid = make_grid({"a": {"pairs": {"instruction": 5}}}, ablations=ablations)
    assert set(grid.runs()) == {("a", 0), ("a", 1), ("turns: 2", 0)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[arms.a]\npairs = { base = 1 }\nagainst = ['b']",
            "arms.a.against: expected another arm out of none; got 'b'",
        ),
        ("[arms.a]\npairs = { base = 1 }\nagainst = ['a']", "expected another arm"),
        (
            "[arms.a]\npairs = { base = 1 }\ntokens_of = 'c'",
            "arms.a.tokens_of: expected another arm out of none; got 'c'",
        ),
        (
            "[arms.a]\npairs = { instrution = 1 }",
            "arms.a.pairs: expected contrasts out of instruction,.*got 'instrution'",
        ),
        ("[arms.a]\npairs = { base = -1 }", "arms.a.pairs.base: .*greater than or equal to 0"),
        ("[arms.a]\npairs = {}\nskil = 'good'", "arms.a.skil: Extra inputs"),
        ("[arms.a]\npairs = {}\nskill = 'best'", "expected one of perfect, good, fair, weak, got 'best'"),
        ("[arms.a]\npairs = {}\nschedule = 'turns:6'", "schedule turns:6: expected a turn out of 1 to 5"),
        ("arms = 3", "arms: "),
        (
            "[arms.a]\npairs = {}\n[ablations.x]\nof = 'b'\naxis = 'x'\nvariations = {}",
            "ablations.x.of: expected an arm out of a; got 'b'",
        ),
        (
            "[arms.a]\npairs = {}\n[ablations.x]\nof = 'a'\naxis = 'x'\nvariations = { y = { T = 3 } }",
            "Extra inputs",
        ),
        ("[arms.a", "expected a readable TOML file"),
        ("looked_at = [1, 0]", "looked_at: expected seeds that are not in `seeds`, got 0: "),
        ("folds = 2", r"folds: expected 1 with \[sandbox\]"),
        ("[arms.a]\npairs = { hh = 1 }\n[sources.hhh]\nfiles = ['x']", "arms.a.pairs: sources out of hhh, or .*'hh'"),
        (
            "[arms.a]\npairs = {}\n[arms.b]\npairs = {}\ntokens_of = 'a'\nfill = 'hh'",
            "arms.b.fill: .* out of base; got 'hh'",
        ),
        ("[arms.a]\npairs = {}\n[arms.b]\npairs = {}\ntokens_of = 'a'\npairs_of = 'a'", "arms.b: expected either"),
        ("[arms.a]\npairs = {}\n[sources.hh]\nfiles = []", "sources.hh.files: "),
        ("[arms.a]\npairs = {}\n[sources.hh]\nfiles = ['x']\nweight = 0", "sources.hh.weight: "),
        ("[arms.a]\npairs = {}\n[model]\nbase = 'x'\nfeatures = 'y'", "model: features is for a frozen backbone"),
        ("[arms.a]\npairs = {}\n[measures.m]\nbenchmark = 'x'\nfiles = ['y']\nvalue = 'z'", "measures.m.value: "),
        (
            "[arms.a]\npairs = {}\n[measures.Best-of-8]\nbenchmark = 'x'\nfiles = ['y']",
            "measures.Best-of-8: expected another name",
        ),
        (HYPOTHESIS.format(arm="music", control="a", measure="single turns"), "hypotheses.H.arm: .* a, b; got 'music'"),
        (HYPOTHESIS.format(arm="a", control="c", measure="single turns"), "hypotheses.H.control: .* a, b; got 'c'"),
        (
            HYPOTHESIS.format(arm="a", control="b", measure="relevance, erly"),
            "hypotheses.H.measure: .*got 'relevance, erly'; did you mean 'relevance, early'",
        ),
    ],
)
def test_what_is_wrong_is_named(read, text, message):
    with pytest.raises(InvalidInputError, match=message):
        read(text)


def test_seeds_twice_and_chains_of_matched_tokens_are_refused(make_grid):
    with pytest.raises(ValueError, match="expected at least one seed, and each once"):
        make_grid({"a": {"pairs": {}}}, seeds=(1, 1))
    arms = {name: {"pairs": {"base": 1}, "tokens_of": of} for name, of in (("a", "b"), ("b", "c"))}
    with pytest.raises(ValueError, match=r"arms.a: expected to match an arm .* but 'b' itself matches another arm"):
        make_grid(arms | {"c": {"pairs": {"base": 1}}})


def test_a_look_has_the_seeds_for_looking_and_results_of_its_own(read):
    grid = read("looked_at = [7, 8]")
    look = grid.look()
    assert (look.name, look.seeds, look.looked_at, look.is_look) == ("mine-look", (7, 8), (), True)
    with pytest.raises(InvalidInputError, match="--look: expected a grid with seeds for looking, but mine has none"):
        read("test_seed = 1").look()


def test_a_quick_run_has_few_pairs_and_prompts_but_enough_to_fit(read):
    text = "[arms.a]\npairs = { s = 40, base = 400 }\n[sources.s]\nfiles = ['s']\n"
    text += "[measures.m]\nbenchmark = 'b'\nfiles = ['m']"
    quick = read(text).quick()
    assert quick.arm("a").settings.pairs == {"s": 16, "base": 20}
    assert quick.measures["m"].limit == 20
