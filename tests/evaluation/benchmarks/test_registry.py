import pytest

from music.errors import InvalidInputError
from music.evaluation.benchmarks import registry
from music.evaluation.benchmarks.preferences import Preferences
from music.evaluation.benchmarks.registry import benchmark_names, load_benchmark, register_benchmark

NAMES = ("rewardbench", "rewardbench2", "rm_bench", "judgebench", "rmb", "ppe", "mt_bench", "preferences")
NAMES += ("defects", "turn_labels")


def test_all_benchmarks_open_by_name():
    assert set(NAMES) <= set(benchmark_names())
    for name in NAMES:
        assert load_benchmark(name).name == name


def test_an_unknown_name_is_answered_with_all_names():
    with pytest.raises(InvalidInputError, match=r"\(rewardbench, rewardbench2, .*turn_labels\), got 'reward-bench'"):
        load_benchmark("reward-bench")


def test_a_benchmark_of_ones_own_opens_by_its_name(monkeypatch):
    monkeypatch.setattr(registry, "_benchmarks", dict(registry._benchmarks))
    own = Preferences()
    own.name = "in-house"

    register_benchmark(own)

    assert load_benchmark("in-house") is own
    with pytest.raises(InvalidInputError, match="'in-house', which is taken"):
        register_benchmark(own)


def test_a_benchmark_of_an_installed_package_opens_by_its_entry_point(tmp_path, monkeypatch):
    (tmp_path / "lab_benchmarks.py").write_text(
        "from music.evaluation.benchmarks.preferences import Preferences\n"
        "class Lab(Preferences):\n    name = 'lab'\n"
        "LAB = Lab()\n"
    )
    meta = tmp_path / "lab_benchmarks-1.0.dist-info"
    meta.mkdir()
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: lab-benchmarks\nVersion: 1.0\n")
    (meta / "entry_points.txt").write_text("[music.benchmarks]\nlab = lab_benchmarks:LAB\n")
    monkeypatch.syspath_prepend(tmp_path)

    assert "lab" in benchmark_names()
    assert load_benchmark("lab").name == "lab"
