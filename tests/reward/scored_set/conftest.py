"""A reward model, sets of pairs and of conversations, and `music score` in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from music.pairs import PreferencePair
from music.preferences import write_preferences
from music.reward import RewardModel

NUM_PAIRS = 60


@pytest.fixture(scope="session")
def checkpoint(reward_checkpoint, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("rm")
    RewardModel.from_pretrained(reward_checkpoint(), device="cpu").save_pretrained(path)
    return path


@pytest.fixture
def pairs(make_conversation) -> list[PreferencePair]:
    return [
        PreferencePair(id=f"p{seed}", chosen=make_conversation(seed), rejected=make_conversation(seed + 1000))
        for seed in range(NUM_PAIRS)
    ]


@pytest.fixture
def pair_folder(pairs, tmp_path) -> Path:
    """Pairs in three parquet files."""
    for number in range(3):
        write_preferences(pairs[number * 20 : number * 20 + 20], tmp_path / "pairs" / f"{number}.parquet")
    return tmp_path / "pairs"


@pytest.fixture
def start() -> Callable[..., subprocess.Popen[str]]:
    """Start `music score`, after code that prepares the process."""

    def start(*arguments: Any, prelude: str = "") -> subprocess.Popen[str]:
        code = f"{prelude}\nfrom music.cli import main; main()"
        env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        pipe = subprocess.PIPE
        command = [sys.executable, "-c", code, "score", *map(str, arguments)]
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=env)

    return start


@pytest.fixture
def run(start) -> Callable[..., dict[str, Any]]:
    """Run `music score --json` to its end, and return its result."""

    def run(*arguments: Any) -> dict[str, Any]:
        process = start(*arguments, "--json")
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        result: dict[str, Any] = json.loads(out)
        return result

    return run


@pytest.fixture
def rows_of() -> Callable[[Path], list[dict[str, Any]]]:
    """Return a reader of all rows of a folder, in the order of its files."""
    return lambda out: [row for path in sorted(out.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
