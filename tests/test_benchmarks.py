"""The benchmarks run at small size: they use the product as users do, and fail where it has changed."""

import json
import math

import numpy as np
import pytest

from benchmarks import coverage, frozen, reward_training, swap, viewer
from benchmarks.simulation_cpu import measure_cpu
from benchmarks.simulation_load import measure_load, measure_memory
from music.sandbox.server import sandbox_server


async def test_cpu_is_measured():
    with sandbox_server() as base_url:
        costs = await measure_cpu(base_url, num_pairs=5, num_rounds=1)
    assert costs["product"][0] > 0


async def test_load_is_measured():
    with sandbox_server() as base_url:
        assert (await measure_load(base_url, in_flight=20, latency=0.01)).calls_per_second > 0


def test_memory_is_measured():
    assert math.isfinite(measure_memory(None, 300))  # in a process that has freed memory before, the figure may be 0


@pytest.mark.parametrize("table", [coverage.seeds_and_items, coverage.shares, coverage.win_rates, coverage.calibration])
def test_coverage_is_measured(table):
    names, _, *rows = table(2, np.random.default_rng(0))
    assert rows
    assert all(len(row) == len(names) for row in rows)


def test_the_viewer_is_measured(tmp_path):
    found = viewer.measure(60, tmp_path, rounds=1)
    assert found.indexed > 0
    assert set(found.pages) == {*viewer.QUERIES, "open a pair", "open a pair of a search"}


def test_swaps_are_measured(tmp_path):
    cost = swap.measure(60, tmp_path)
    assert cost.cpu_seconds > 0
    assert 0 < cost.swapped <= 1


@pytest.fixture
def file_of_pairs(tmp_path):
    """Return a file of 20 pairs whose replies differ in length."""
    path = tmp_path / "pairs.jsonl"
    with path.open("w") as file:
        for i in range(20):
            prompt = [{"role": "user", "content": "Name a fruit. " * (1 + i)}]
            replies = ([*prompt, {"role": "assistant", "content": word * (1 + i)}] for word in ("apple ", "bad "))
            file.write(json.dumps(dict(zip(("chosen", "rejected"), replies, strict=True))) + "\n")
    return path


def test_training_is_measured_on_real_text(language_checkpoint, file_of_pairs, capsys):
    base = language_checkpoint()
    flags = ["--base", str(base), "--pairs", str(file_of_pairs), "--layers", "1", "--steps", "2", "--rounds", "1"]
    reward_training.main(flags)
    head, *_, trl, padded, ours = capsys.readouterr().out.rstrip().splitlines()
    assert "1 layers" in head
    for line, name in ((trl, "TRL RewardTrainer"), (padded, "length buckets, padded"), (ours, "music train")):
        found, rate, _, times_trl, times_padded, peak, before = (cell.strip() for cell in line.strip("|").split("|"))
        assert found == name
        assert float(rate.replace(",", "")) > 0
        assert float(times_trl) > 0 < float(times_padded)
        assert float(peak) >= float(before) > 0


def test_real_text_takes_a_base_and_pairs(capsys):
    with pytest.raises(SystemExit):
        reward_training.main(["--pairs", "pairs.jsonl"])
    assert "--base" in capsys.readouterr().err


def test_frozen_backbones_are_measured(language_checkpoint, file_of_pairs, capsys):
    sizes = ["--conversations", "4", "--rounds", "1", "--fit-pairs", "50", "--features", "4"]
    frozen.main(["--base", str(language_checkpoint()), "--pairs", str(file_of_pairs), *sizes])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("4 conversations, ")
    figures = [line.strip("| ").split(" | ") for line in lines if line.startswith(("| hidden", "| one", "| ridge"))]
    assert [len(row) for row in figures] == [3, 2, 2, 2, 2]
    assert all(float(row[1]) >= 0 for row in figures)
