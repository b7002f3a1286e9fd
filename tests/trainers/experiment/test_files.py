"""A grid of files on a frozen backbone: what is drawn, left out by folds, fitted and measured, against plain code."""

import json
import random

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from music.errors import MusicError
from music.preferences import read_preferences, seed_key, write_preferences
from music.reward.loading import load_checkpoint
from music.sandbox.artifacts import BACKBONE
from music.sandbox.world.defects import defect_rows
from music.sandbox.world.seeds import seed_pairs
from music.seeding import derive_seed
from music_trainers.experiment.cell import CellResult
from music_trainers.experiment.cli import experiment
from music_trainers.frozen import Comparisons, FrozenBackbone, choose_ridge, fit_head
from music_trainers.reward.pairs import encode_pairs

GRID = """
name = "files"
title = "Files"
seeds = [3]
looked_at = [0]
folds = 2
[model]
base = "{base}"
freeze = "backbone"
max_length = 512
[sources.one]
files = ["{folder}/one.jsonl"]
[sources.two]
files = ["{folder}/two.jsonl"]
weight = 2.0
[arms.plain]
pairs = {{ one = 40, two = 20 }}
[arms.matched]
pairs = {{ one = 40 }}
tokens_of = "plain"
fill = "two"
against = ["plain"]
[measures."defects, early"]
benchmark = "defects"
files = ["{folder}/defects.jsonl"]
where = {{ kind = ["topic", "end"] }}
where_not = {{ after = 0 }}
[measures.pairs]
benchmark = "preferences"
files = ["{folder}/test.jsonl"]
where = {{ longer = "chosen side longer" }}
[hypotheses.H1]
statement = "Fewer sources do better."
arm = "matched"
control = "plain"
measure = "pairs"
direction = "higher"
"""
APP = typer.Typer()
APP.command()(experiment)


def run(folder, *flags, text=GRID):
    (folder / "grid.toml").write_text(text.format(folder=folder, base=BACKBONE))
    arguments = [str(folder / "grid.toml"), "--out", str(folder / "out"), "--jobs", "1", *flags]
    return CliRunner().invoke(APP, arguments, catch_exceptions=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of sources and test files; some test pairs are of prompts that the first source has too."""
    folder = tmp_path_factory.mktemp("files")
    one = seed_pairs(80, 11)
    write_preferences(one, folder / "one.jsonl")
    write_preferences(seed_pairs(80, 12), folder / "two.jsonl")
    write_preferences(one[:30] + seed_pairs(30, 13), folder / "test.jsonl")
    rows = "".join(json.dumps(row) + "\n" for row in defect_rows(3, 3, 14))
    (folder / "defects.jsonl").write_text(rows)
    return folder


@pytest.fixture(scope="module")
def cells(folder):
    """The results of a run, by arm."""
    assert run(folder).exit_code == 0
    return read_cells(folder, 3)


def read_cells(folder, seed):
    paths = (folder / "out" / "cells").rglob(f"seed-{seed}.json")
    return {path.parent.name: CellResult.model_validate_json(path.read_text()) for path in paths}


class Plain:
    """The experiment in plain code: everything is read, drawn, encoded and fitted again."""

    def __init__(self, folder, features):
        self.folder = folder
        self.loaded = load_checkpoint(BACKBONE, dtype=torch.float32, head_seed=0, max_length=512)
        self.backbone = FrozenBackbone(self.loaded, features)

    def drawn(self, name):
        pairs = read_preferences(self.folder / f"{name}.jsonl").pairs
        return [pairs[i] for i in random.Random(derive_seed("pairs", name, 3)).sample(range(80), 80)]

    def num_tokens(self, pairs):
        return sum(pair.num_tokens for pair in encode_pairs(self.loaded.tokens, pairs)[0])

    def fit(self, pairs, weights):
        encoded, _ = encode_pairs(self.loaded.tokens, pairs)
        states = self.backbone.states([side for pair in encoded for side in (pair.chosen, pair.rejected)])
        chosen, rejected = (np.stack([each[-1] for each in states[side::2]]) for side in (0, 1))
        comparisons = Comparisons.of(chosen.astype(np.float64) - rejected, weights, None)
        ridge, _ = choose_ridge(comparisons, [seed_key(pair) for pair in pairs], seed=3)
        return fit_head(chosen, rejected, weights, ridge=ridge).weight

    def hits(self, head, pairs):
        """Whether the chosen side wins, by readout."""
        sides = [[np.array(self.backbone.turns([side])[0]) @ head for side in (p.chosen, p.rejected)] for p in pairs]
        readouts = {
            "last": lambda rewards: rewards[-1],
            "turn_mean": np.mean,
            "turn_min": np.min,
            "end_weighted": lambda rewards: np.average(rewards, weights=range(1, len(rewards) + 1)),
        }
        return {name: [float(read(a) > read(b)) for a, b in sides] for name, read in readouts.items()}


def opening(pair):
    return pair.chosen.messages[0].content


def prompts_of_fold(folder, fold):
    """The first user messages of the test items of a fold."""
    from hashlib import blake2b

    def key(text: str) -> int:
        return int(blake2b(" ".join(text.casefold().split()).encode(), digest_size=8).hexdigest(), 16)

    pairs = [pair for pair in read_preferences(folder / "test.jsonl").pairs if is_longer(pair)]
    tested = {row["chosen"][0]["content"] for row in early_defects(folder)} | {opening(pair) for pair in pairs}
    return {prompt for prompt in tested if key(prompt) % 2 == fold}


def early_defects(folder):
    rows = [json.loads(line) for line in (folder / "defects.jsonl").read_text().splitlines()]
    return [row for row in rows if row["kind"] in ("topic", "end") and "@2/" not in row["id"]]


def is_longer(pair):
    lengths = [sum(len(m.content) for m in s.messages if m.role == "assistant") for s in (pair.chosen, pair.rejected)]
    return lengths[0] > lengths[1]


def test_a_cell_is_what_plain_code_gives(folder, cells, tmp_path):
    plain = Plain(folder, tmp_path)
    test = [pair for pair in read_preferences(folder / "test.jsonl").pairs if is_longer(pair)]
    wanted = {readout: [None] * len(test) for readout in cells["plain"].values["pairs"]}
    num_tokens = 0
    for fold in (0, 1):
        of_fold = prompts_of_fold(folder, fold)
        one, two = (
            [pair for pair in plain.drawn(name)[:num] if opening(pair) not in of_fold]
            for name, num in (("one", 40), ("two", 20))
        )
        head = plain.fit([*one, *two], [1.0] * len(one) + [2.0] * len(two))
        num_tokens += plain.num_tokens([*one, *two])
        places = [place for place, pair in enumerate(test) if opening(pair) in of_fold]
        for readout, hits in plain.hits(head, [test[place] for place in places]).items():
            for place, hit in zip(places, hits, strict=True):
                wanted[readout][place] = hit
    assert cells["plain"].values["pairs"] == wanted
    assert cells["plain"].num_tokens == round(num_tokens / 2)
    assert len({tuple(values) for values in cells["plain"].values["defects, early"].values()}) > 1


def test_folds_keep_the_prompts_of_test_items_out_of_training(folder, cells):
    drawn = Plain.drawn(type("_", (), {"folder": folder}), "one")[:40]
    of_folds = [prompts_of_fold(folder, fold) for fold in (0, 1)]
    kept = [sum(opening(pair) not in prompts for pair in drawn) for prompts in of_folds]
    assert min(kept) < 40
    assert cells["plain"].num_pairs["one"] == round(sum(kept) / 2)


def test_a_matched_arm_has_the_first_pairs_that_give_as_many_tokens(folder, cells, tmp_path):
    plain, sizes = Plain(folder, tmp_path), []
    for fold in (0, 1):
        of_fold = prompts_of_fold(folder, fold)
        one, two = ([p for p in plain.drawn(name) if opening(p) not in of_fold] for name in ("one", "two"))
        own = [pair for pair in plain.drawn("one")[:40] if pair in one]
        other = [*own, *(pair for pair in plain.drawn("two")[:20] if pair in two)]
        num = next(n for n in range(80) if plain.num_tokens([*own, *two[:n]]) >= plain.num_tokens(other))
        sizes.append(num)
    assert cells["matched"].num_pairs["two"] == round(sum(sizes) / 2)


def test_measures_are_listed_with_the_prompt_of_each_item(folder, cells):
    infos = {info["name"]: info for info in json.loads((folder / "out" / "measures.json").read_text())}
    assert list(infos) == ["defects, early", "pairs"]
    assert len(infos["pairs"]["clusters"]) == len(cells["plain"].values["pairs"]["last"])
    assert {info["unit"] for info in infos.values()} == {"share"}
    assert len(infos["defects, early"]["clusters"]) == len(early_defects(folder)) > 0


def test_a_resumed_run_computes_no_state_and_fits_what_is_missing(folder, cells):
    features = {path: path.stat().st_mtime_ns for path in (folder / "out" / "features").rglob("*.safetensors")}
    (path,) = (folder / "out" / "cells" / "matched").glob("*.json")
    path.unlink()
    outcome = run(folder)
    assert "cells 1/1: matched, seed 3: done" in outcome.stderr
    assert "states" not in outcome.stderr
    assert {path: path.stat().st_mtime_ns for path in (folder / "out" / "features").rglob("*.safetensors")} == features
    assert read_cells(folder, 3)["matched"].values == cells["matched"].values


def test_a_source_whose_content_changed_is_refused(folder, cells):
    path = folder / "two.jsonl"
    before = path.read_text()
    path.write_text("".join(before.splitlines(keepends=True)[:-1]))
    try:
        with pytest.raises(MusicError, match=r"plain, seed 3: content.sources.two was \w+, is \w+"):
            run(folder)
    finally:
        path.write_text(before)
