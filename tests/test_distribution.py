"""What the wheel and the source distribution contain."""

import shutil
import tomllib
from pathlib import Path

from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[1]
PACKAGES = {"music": ".", "music_agents": "agents", "music_envs": "envs", "music_trainers": "trainers"}


METADATA = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def contents(builder, root=ROOT):
    return {each.distribution_path for each in builder(str(root)).recurse_included_files()}


def test_the_wheel_holds_the_four_packages_and_nothing_else():
    sources = {
        path.relative_to(ROOT / folder).as_posix()
        for package, folder in PACKAGES.items()
        for path in (ROOT / folder / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert contents(WheelBuilder) == sources
    assert {f"{package}/py.typed" for package in PACKAGES} <= sources


def test_the_source_distribution_can_run_the_tests_and_holds_nothing_that_was_made():
    found = contents(SdistBuilder)
    assert {"README.md", "LICENSE", "CHANGELOG.md", "Makefile", "constraints.txt", "tests/conftest.py"} <= found
    made = {"runs", ".venv", "dist", "build", ".mypy_cache", ".pytest_cache", ".ruff_cache", "__pycache__"}
    assert not [path for path in found if made & set(Path(path).parts)]


def test_the_source_distribution_makes_the_same_wheel(tmp_path):
    (source,) = SdistBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    shutil.unpack_archive(source, tmp_path)
    unpacked = tmp_path / Path(source).name.removesuffix(".tar.gz")
    assert contents(WheelBuilder, unpacked) == contents(WheelBuilder)
    assert all((unpacked / path).is_file() for path in METADATA["license-files"])


def test_pages_show_the_version_and_the_changelog_describes_it():
    version = METADATA["version"]
    assert f"music-rm         {version}\n" in (ROOT / "docs/start-here.md").read_text(encoding="utf-8")
    assert f"music_rm-{version}-py3-none-any.whl" in (ROOT / "docs/first-hour.md").read_text(encoding="utf-8")
    first = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").partition("\n## ")[2]
    assert first.startswith(f"{version} (")
    assert "### Migrations" in first
