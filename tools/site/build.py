"""Build the documentation site: `python tools/site/build.py [OUT]`, or `make docs`.

The pages are docs/, the figures of benchmarks/, and a page for each example, skill and package. docs/README.md is the
front page, the navigation and `llms.txt` at once. The site works offline, opened from the disk or served by any web
server, and each page has its Markdown beside it. zensical checks links and anchors, and a warning ends the build.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from shutil import copy2, move, rmtree
from tempfile import TemporaryDirectory

import griffe

__all__ = ["build"]

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
SOURCES = ["", "agents", "envs", "trainers"]
"""The folders of the four packages."""
OTHERS = {
    "benchmarks/RESULTS.md": "benchmarks.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}
"""Pages from outside docs/, by their place in the repository; the value is their place on the site."""
PACKAGES = {
    "music": "conversations, pairs, models, preference data, the reward model, evaluation.",
    "music_agents": "simulation: roles, contrasts, the pair graph.",
    "music_envs": "the chat environment and Best-of-N.",
    "music_trainers": "training reward models and policies.",
}
LANGUAGES = {".py": "python", ".sh": "sh", ".yaml": "yaml"}
SHIM = "https://unpkg.com/iframe-worker/shim"
"""What the theme loads so that the search works on pages from the disk; the site has its own copy."""

FENCES = re.compile(r"^(```.*?^```)", re.DOTALL | re.MULTILINE)
LINKS = re.compile(r"(\]\()(?!https?:|#|mailto:)([^)#\s]+)")


def build(out: Path) -> None:
    """Build the site into a folder, which is replaced.

    Args:
        out: Folder of the site.

    Raises:
        subprocess.CalledProcessError: If zensical warns.
        ValueError: If a page links to a file that is not on the site.
    """
    with TemporaryDirectory() as folder:
        work = Path(folder)
        pages = work / "pages"
        _stage(pages)
        config = (ROOT / "zensical.toml").read_text(encoding="utf-8")
        config = config.replace("[project]\n", f"[project]\n{_navigation(pages)}", 1)
        config = config.replace("EXTENSION", str(HERE / "docstrings.py"))
        (work / "zensical.toml").write_text(config, encoding="utf-8")
        path = os.pathsep.join([*(str(ROOT / source) for source in SOURCES), *sys.path])
        command = [sys.executable, "-m", "zensical", "build", "--strict"]
        subprocess.run(command, cwd=work, env=os.environ | {"PYTHONPATH": path}, check=True)
        _finish(work / "site", pages)
        rmtree(out, ignore_errors=True)
        out.parent.mkdir(parents=True, exist_ok=True)
        move(work / "site", out)


def _places() -> dict[str, str]:
    """Return the place on the site of each file of the repository that is a page or belongs to one."""
    places = {
        path.relative_to(ROOT).as_posix(): path.relative_to(ROOT / "docs").as_posix()
        for path in sorted((ROOT / "docs").rglob("*"))
        if path.is_file()
    }
    examples = {
        name: f"{name}.md"
        for path in sorted((ROOT / "examples").rglob("*"))
        if path.suffix in LANGUAGES
        for name in [path.relative_to(ROOT).as_posix()]
    }
    skills = {f"skills/{path.name}/SKILL.md": f"skills/{path.name}.md" for path in sorted((ROOT / "skills").iterdir())}
    return places | examples | skills | OTHERS | {"docs/README.md": "index.md", "AGENTS.md": "agents.md"}


def _stage(pages: Path) -> None:
    """Write all pages, with links between them."""
    places = _places()
    for name, place in places.items():
        target = pages / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".md"):
            text = (ROOT / name).read_text(encoding="utf-8")
            target.write_text(_relink(_without_header(text), name, places), encoding="utf-8")
        elif name.startswith("examples/"):
            target.write_text(_listing(ROOT / name), encoding="utf-8")
        else:
            copy2(ROOT / name, target)
    (pages / "examples/index.md").write_text(_example_index(), encoding="utf-8")
    (pages / "api").mkdir()
    for package in PACKAGES:
        (pages / "api" / f"{package}.md").write_text(_reference(package), encoding="utf-8")
    with (pages / "index.md").open("a", encoding="utf-8") as front:
        front.write("\n## API\n\n" + "".join(f"- [{name}](api/{name}.md): {what}\n" for name, what in PACKAGES.items()))
    copy2(HERE / "site.css", pages)


def _without_header(text: str) -> str:
    """Return a page without the fields that a skill begins with."""
    return re.sub(r"\A---\n.*?\n---\n+", "", text, flags=re.DOTALL)


def _relink(text: str, name: str, places: dict[str, str]) -> str:
    """Let the links of a page lead to the places of its targets on the site."""

    def lead(match: re.Match[str]) -> str:
        target = os.path.normpath(os.path.join(os.path.dirname(name), match[2])).replace(os.sep, "/")
        place = places.get(target)
        if target.startswith("examples") and (ROOT / target).is_dir():
            place = f"examples/index.md{_example_anchor(target)}"
        if place is None:
            raise ValueError(
                f"{name}: expected a link to a page of the site, got {match[2]}; add it to tools/site/build.py"
            )
        return match[1] + os.path.relpath(place, os.path.dirname(places[name]) or ".").replace(os.sep, "/")

    parts = FENCES.split(text)  # the odd ones are blocks of code
    return "".join(part if place % 2 else LINKS.sub(lead, part) for place, part in enumerate(parts))


def _listing(path: Path) -> str:
    """Return the page of an example: its code."""
    code = path.read_text(encoding="utf-8")
    return f"# {path.relative_to(ROOT)}\n\n```{LANGUAGES[path.suffix]}\n{code}```\n"


def _example_anchor(folder: str) -> str:
    """Return the anchor of a folder of examples in their list; none for the list itself."""
    name = folder.removeprefix("examples").strip("/")
    return f"#{name}" if name else ""


def _example_index() -> str:
    """Return a list of the examples, each with the first sentence of its file; a folder has a heading."""
    lines = ["# Examples\n\nShort scripts that run alone.\n"]
    paths = (path for path in (ROOT / "examples").rglob("*") if path.suffix in LANGUAGES)
    for folder, files in groupby(sorted(paths, key=lambda path: (path.parent, path)), key=lambda path: path.parent):
        if folder != ROOT / "examples":
            lines.append(f"\n## {folder.name}\n")
        for path in files:
            first = next(line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#!"))
            name = path.relative_to(ROOT / "examples").as_posix()
            lines.append(f"- [{name}]({name}.md): " + first.strip("#\"' "))
    return "\n".join(lines) + "\n"


def _public_names(package: str) -> Iterator[str]:
    for line in (ROOT / "tests/public_names.txt").read_text(encoding="utf-8").splitlines():
        name = line.partition("(")[0]
        if name.partition(".")[0] == package:
            yield name


def _reference(package: str) -> str:
    """Return the page of a package's public names."""
    parts, face = [f"# `{package}`\n"], ""
    for name in _public_names(package):
        if name.rpartition(".")[0] != face:
            face = name.rpartition(".")[0]
            parts.append(f"## Import from `{face}`\n")
        parts.append(f"::: {name}\n")
    return "\n".join(parts)


def _navigation(pages: Path) -> str:
    """Return the navigation: the headings and links of the front page."""
    front = (pages / "index.md").read_text(encoding="utf-8")
    lines = ['nav = [\n  { "Home" = "index.md" },\n']
    for title, body in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", front, re.DOTALL | re.MULTILINE):
        links = re.findall(r"^- \[(.*?)\]\((.*?)\)", body, re.MULTILINE)
        lines.append(f'  {{ "{title}" = [' + ", ".join(f'{{ "{name}" = "{to}" }}' for name, to in links) + "] },\n")
    return "".join([*lines, "]\n"])


def _finish(site: Path, pages: Path) -> None:
    """Add the Markdown of each page, `llms.txt`, and the script that the theme would load from the network."""
    copy2(HERE / "iframe-worker.js", site / "assets/javascripts/iframe-worker.js")
    for page in site.rglob("*.html"):
        up = "../" * len(page.relative_to(site).parent.parts)
        html = page.read_text(encoding="utf-8").replace(SHIM, f"{up}assets/javascripts/iframe-worker.js")
        if page.name != "404.html":
            link = f'<link rel="alternate" type="text/markdown" href="{page.stem}.md">'
            html = html.replace("</head>", f"{link}</head>", 1)
        page.write_text(html, encoding="utf-8")
    loader = _docstrings()
    for source in pages.rglob("*.md"):
        text = _with_docstrings(source.read_text(encoding="utf-8"), loader)
        (site / source.relative_to(pages)).write_text(text, encoding="utf-8")
    copy2(site / "index.md", site / "llms.txt")


def _docstrings() -> griffe.GriffeLoader:
    """Return the packages, read without importing them."""
    loader = griffe.GriffeLoader(search_paths=[ROOT / source for source in SOURCES])
    for package in PACKAGES:
        loader.load(package)
    loader.resolve_aliases()
    return loader


def _with_docstrings(text: str, loader: griffe.GriffeLoader) -> str:
    """Put docstrings in place of the names on a page of reference."""

    def describe(match: re.Match[str]) -> str:
        doc = loader.modules_collection[match[1]].docstring
        return f"### {match[1]}\n\n```text\n{doc.value if doc else ''}\n```"

    return re.sub(r"^::: (\S+)$", describe, text, flags=re.MULTILINE)


if __name__ == "__main__":
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "runs/site")
