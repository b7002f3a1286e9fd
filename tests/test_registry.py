"""Built-in names, and that libraries reach the sandbox by no other way."""

import ast
from pathlib import Path

import pytest

from music.registry import BUILT_IN, load_built_in

ROOT = Path(__file__).parents[1]
ABOUT_THE_SANDBOX = {"music/sandbox", "trainers/music_trainers/demo", "trainers/music_trainers/experiment"}
ABOUT_THE_SANDBOX |= {"trainers/music_trainers/arms.py"}


@pytest.mark.parametrize(("kind", "name"), BUILT_IN)
def test_every_built_in_is_there(kind, name):
    assert load_built_in(kind, name) is not None


def test_an_unknown_name_is_no_built_in():
    with pytest.raises(KeyError):
        load_built_in("seeds", "oracle")


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_no_library_imports_the_sandbox():
    found = set()
    for folder in ("music", "agents/music_agents", "envs/music_envs", "trainers/music_trainers"):
        for path in (ROOT / folder).rglob("*.py"):
            name = path.relative_to(ROOT).as_posix()
            if not any(name == each or name.startswith(f"{each}/") for each in ABOUT_THE_SANDBOX):
                found |= {name for module in imported(path) if f"{module}.".startswith("music.sandbox.")}
    assert found == set()
