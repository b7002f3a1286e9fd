"""The rules of the layout: what may import what, and what users may rely on.

`public_names.txt` beside this file pins public names and signatures. If a change is meant to alter one, record
them again and say so in CHANGELOG.md:

    MUSIC_RECORD_NAMES=1 python -m pytest tests/test_layout.py
"""

import ast
import importlib
import inspect
import os
import pickle
import pkgutil
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from music.errors import MusicError

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


def targets(path):
    """Yield the modules that a module imports names from, lazily or not; names from a face belong to their modules."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (HOMES.get((node.module, alias.name), f"{node.module}.{alias.name}") for alias in node.names)


def homes():
    """Map each name that a face exports to the module that defines it."""
    found = {}
    for package, folder in PACKAGES.items():
        for face in [*folder.rglob("__init__.py"), *folder.rglob("__init__.pyi")]:
            name = ".".join([package, *face.parent.relative_to(folder).parts])
            for node in ast.walk(ast.parse(face.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom):
                    module = f"{name}.{node.module}" if node.level else node.module
                    found |= {(name, alias.asname or alias.name): f"{module}.{alias.name}" for alias in node.names}
    return found


HOMES = homes()
NAMES = {
    path: ".".join([package, *path.relative_to(PACKAGES[package]).with_suffix("").parts])
    for package, path in MODULES
    if path.name not in {"__init__.py", "__init__.pyi"}
}
"""The name of each module that is not a face."""


def test_no_circle_between_what_stands_side_by_side():
    """In every folder, files and folders import each other in one direction only."""
    edges = defaultdict(lambda: defaultdict(set))
    for path, name in NAMES.items():
        for target in targets(path):
            ours, theirs = name.split("."), target.split(".")
            same = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), 0)
            if same:
                edges[".".join(ours[:same])][ours[same]].add(theirs[same])
    circles = {}
    for folder, graph in edges.items():
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            circles[folder] = " <- ".join(error.args[1])
    assert circles == {}


def test_no_library_imports_a_command_line():
    is_command = {path: path.stem == "cli" or "cli" in path.parent.parts for path in NAMES}
    guilty = {
        NAMES[path]: found
        for path in NAMES
        if not is_command[path]
        and path.stem != "__main__"
        and (found := [each for each in targets(path) if "cli" in each.split(".")])
    }
    assert guilty == {}


@pytest.mark.parametrize("face", FACES)
def test_no_public_name_is_also_a_module(face):
    """`from music.evaluation import evaluate` has to be the function, whatever was imported before."""
    module = importlib.import_module(face)
    modules = {each.name for each in pkgutil.iter_modules(module.__path__)}
    assert modules & set(getattr(module, "__all__", [])) == set()


PUBLIC = {
    "music": ["Conversation", "PreferencePair", "ContrastivePair", "MusicError"],
    "music.llm": ["load_model", "ChatModel"],
    "music.preferences": ["read_preferences", "write_preferences", "split_pairs"],
    "music.reward": ["RewardModel", "RewardFunction", "load_reward", "RemoteReward"],
    "music.evaluation": [
        *("evaluate", "run_evaluation", "load_benchmark", "register_benchmark", "read_benchmark", "score_items"),
        "PairwiseJudge",
    ],
    "music.testing": ["check_reward"],
    "music_agents": ["simulate", "run_simulation", "SimulationConfig", "build_pair_graph", "register_contrast"],
    "music_agents.testing": ["check_contrast", "check_speaker"],
    "music_envs": ["ChatEnv", "ChatVectorEnv", "run_best_of_n"],
    "music_envs.testing": ["check_chat_env"],
    "music_trainers": ["train_reward_model", "RewardTrainingConfig", "train_reward_head", "fit_head", "train_policy"],
}
"""What users may rely on, by where they import it from."""
PINNED = Path(__file__).with_name("public_names.txt")


def signature(public):
    """Return parameters and defaults; annotations may become more exact, and long defaults are left out."""
    if getattr(public, "_is_protocol", False) or public is MusicError:
        return ""
    plain = {type(None), bool, int, float, str}
    parameters = [
        each.replace(
            annotation=inspect.Parameter.empty,
            default=each.default if type(each.default) in plain or each.default is each.empty else ...,
        )
        for each in inspect.signature(public).parameters.values()
    ]
    return str(inspect.Signature(parameters)).replace("Ellipsis", "...")


def test_public_names_and_signatures_are_pinned():
    lines = [
        f"{face}.{name}{signature(getattr(importlib.import_module(face), name))}"
        for face, names in PUBLIC.items()
        for name in names
    ]
    if os.environ.get("MUSIC_RECORD_NAMES"):
        PINNED.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert lines == PINNED.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("name", [f"{face}.{name}" for face, names in PUBLIC.items() for name in names])
def test_public_names_are_documented_with_an_example(name):
    face, _, attribute = name.rpartition(".")
    documented = inspect.getdoc(getattr(importlib.import_module(face), attribute))
    assert documented
    assert "Example" in documented


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_name_their_version(package):
    assert importlib.import_module(package).__version__ == importlib.metadata.version("music-rm")


def errors(kind=MusicError):
    for child in kind.__subclasses__():
        yield child
        yield from errors(child)


def test_every_error_survives_pickling():
    for name in NAMES.values():
        if not name.endswith("studio") and ".adapters." not in name:  # adapters need their libraries
            importlib.import_module(name)
    kinds = [kind for kind in {*errors()} if kind.__module__.partition(".")[0] in PACKAGES]
    assert len(kinds) > 20
    for kind in kinds:
        error = kind.__new__(kind, "what came")
        error.args, error.detail = ("what came", 3), "more of it"
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), again.args, again.detail) == (kind, error.args, error.detail)
