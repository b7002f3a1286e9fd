import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from music.preferences.sources import iter_rows

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def run(tmp_path):
    """Return a function that runs an example in a folder of its own, and returns what it printed."""

    def run_example(name, *args):
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run(
            [sys.executable, EXAMPLES / name, *args],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run_example


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("chat_env.py", "careful - echo: "),
        ("best_of_n.py", "against random: difference "),
        ("best_of_n_distillation.py", "'rewards/margins': "),
    ],
)
def test_the_example_runs_alone(name, shown, run):
    assert shown in run(name)


@pytest.mark.parametrize(
    ("name", "out", "column"),
    [("verl/prompts.py", "prompts.parquet", "prompt"), ("openrlhf/prompts.py", "prompts.jsonl", "messages")],
)
def test_prompts_of_a_run_come_from_the_file_that_is_named(name, out, column, run, tmp_path):
    own = tmp_path / "own.jsonl"
    own.write_text("".join(json.dumps({"prompt": f"Plan walk {n}."}) + "\n" for n in range(3)))
    run(name, out, own)
    rows = [row.content for row in iter_rows(tmp_path / out)]
    assert [row[column] for row in rows] == [[{"role": "user", "content": f"Plan walk {n}."}] for n in range(3)]
