"""What the wheel and the source distribution contain."""

from pathlib import Path

from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[1]
PACKAGES = {"music": ".", "music_agents": "agents", "music_envs": "envs", "music_trainers": "trainers"}


def contents(builder):
    return {each.distribution_path for each in builder(str(ROOT)).recurse_included_files()}


def test_the_wheel_holds_the_four_packages_and_nothing_else():
    sources = {
        path.relative_to(ROOT / folder).as_posix()
        for package, folder in PACKAGES.items()
        for path in (ROOT / folder / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert contents(WheelBuilder) == sources


def test_the_source_distribution_can_run_the_tests_and_holds_nothing_that_was_made():
    found = contents(SdistBuilder)
    assert {"README.md", "LICENSE", "CHANGELOG.md", "Makefile", "constraints.txt", "tests/conftest.py"} <= found
    made = {"runs", ".venv", "dist", "build", ".mypy_cache", ".pytest_cache", ".ruff_cache", "__pycache__"}
    assert not [path for path in found if made & set(Path(path).parts)]
