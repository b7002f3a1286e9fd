"""The house's rules: nothing imports upward, and every public name is there."""

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "music": ROOT / "music",
    "music_agents": ROOT / "agents" / "music_agents",
    "music_envs": ROOT / "envs" / "music_envs",
    "music_trainers": ROOT / "trainers" / "music_trainers",
}
"""From the bottom up: each may import those before it."""

MODULES = [(package, path) for package, folder in PACKAGES.items() for path in sorted(folder.rglob("*.py*"))]
MODULES = [(package, path) for package, path in MODULES if path.suffix in {".py", ".pyi"}]
FACES = [
    ".".join([package, *path.parent.relative_to(PACKAGES[package]).parts])
    for package, path in MODULES
    if path.name == "__init__.py"
]


def imported(path):
    """Return the top-level packages that a module imports anywhere, lazily or not."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            # Only the stubs behind lazy faces may import relatively; `lazy_loader` knows no other way.
            assert node.level == 0 or path.suffix == ".pyi", f"{path}: relative import"
            names |= {node.module or ""} if node.level == 0 else set()
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_import_runs_upward(package):
    order = list(PACKAGES)
    above = set(order[order.index(package) + 1 :]) | {"examples", "benchmarks", "tests"}
    upward = {
        str(path.relative_to(ROOT)): sorted(found)
        for owner, path in MODULES
        if owner == package and (found := imported(path) & above)
    }
    assert upward == {}


@pytest.mark.parametrize("folder", ["agents", "envs", "trainers"])
def test_source_roots_are_no_packages(folder):
    assert (ROOT / folder).is_dir()
    assert not (ROOT / folder / "__init__.py").exists()


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_typed(package):
    assert (PACKAGES[package] / "py.typed").is_file()


@pytest.mark.parametrize("name", FACES)
def test_every_public_name_exists(name):
    face = importlib.import_module(name)
    assert face.__doc__
    missing = [public for public in getattr(face, "__all__", []) if not hasattr(face, public)]
    assert missing == []


def test_faces_hold_no_logic():
    """A face is imports and names; definitions belong to modules."""
    for name in FACES:
        tree = ast.parse(Path(importlib.import_module(name).__file__).read_text(encoding="utf-8"))
        logic = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.For | ast.While
        assert not [node.lineno for node in tree.body if isinstance(node, logic)], name
