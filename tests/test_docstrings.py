"""The examples in the docstrings of the public face are right."""

import doctest
import importlib

import pytest

from music.evaluation.benchmarks import registry


@pytest.mark.parametrize(
    "name",
    [
        "music",
        "music.conversation",
        "music.errors",
        "music.evaluation.benchmarks.pairs",
        "music.evaluation.benchmarks.registry",
        "music.evaluation.config",
        "music.evaluation.diagnostics.run",
        "music.evaluation.result",
        "music.evaluation.run",
        "music.evaluation.scoring.scorer",
        "music.evaluation.scoring.store",
        "music.judges.pairwise",
        "music.judges.settings",
        "music.llm.chat",
        "music.llm.endpoints",
        "music.pairs",
        "music.preferences.reader",
        "music.preferences.split",
        "music.preferences.writer",
        "music.registry",
        "music.seeding",
        "music.statistics.estimates",
        "music_trainers.frozen.head",
        "music_trainers.policy.config",
        "music_trainers.reward.config",
    ],
)
def test_examples_are_right(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # some write files
    monkeypatch.setattr(registry, "_benchmarks", dict(registry._benchmarks))  # an example registers one
    tested = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert tested.attempted > 0
    assert tested.failed == 0
