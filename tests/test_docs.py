"""What the docs say can be followed: links resolve, commands parse, Python compiles and imports what there is.

This holds for all snippets. `test_snippets` runs those that can run here.
"""

import ast
import importlib
import re
import shlex
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from music.cli.shell import ENTRY_POINT_GROUP, build_shell

ROOT = Path(__file__).parents[1]
DOCS = [
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "skills").glob("*/SKILL.md")),
    *(ROOT / name for name in ("AGENTS.md", "README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LISTED = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
OWN = [metadata.EntryPoint(name, value, ENTRY_POINT_GROUP) for name, value in LISTED[ENTRY_POINT_GROUP].items()]
VIEWER = ROOT / "music/viewer/templates/layout.html.jinja"
STARTER = ROOT / "agents/music_agents/starter/simulate.toml"  # what `music init` writes
COMMANDS = build_shell(OWN).commands  # the commands of this tree, whatever is installed


def blocks(doc: Path, *languages: str) -> list[str]:
    return [text for language, text in FENCED.findall(doc.read_text(encoding="utf-8")) if language in languages]


def commands(doc: Path) -> Iterator[str]:
    """Every `music ...` line of a shell block or a transcript, its continuation lines joined."""
    for block in blocks(doc, "", "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            if re.match(r"(\$ )?music (?!--)", line):
                yield line.removeprefix("$ ").removesuffix(" &")


def each(found) -> list:
    return [pytest.param(doc, item, id=f"{doc.name}-{n}") for doc in DOCS for n, item in enumerate(found(doc))]


@pytest.mark.parametrize("doc", DOCS, ids=lambda doc: doc.name)
def test_links_lead_somewhere(doc):
    text = FENCED.sub("", doc.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if not link.startswith("http"):
            place, _, heading = link.partition("#")
            target = (doc.parent / place) if place else doc
            assert target.exists(), link
            if heading:
                headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
                assert heading in {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}, link


def test_pages_give_the_keys_of_the_viewer_their_meaning():
    rows = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", VIEWER.read_text(encoding="utf-8"))
    meanings = {key: meaning for keys, meaning in rows for key in re.findall("<kbd>(.*?)</kbd>", keys)}
    assert {"j", "f", "d"} <= meanings.keys()
    for doc in DOCS:
        prose = " ".join(FENCED.sub("", doc.read_text(encoding="utf-8")).split())
        assert set(re.findall("<kbd>(.*?)</kbd>", prose)) <= {*meanings, "Esc"}, doc.name
        for key in re.findall(r"<kbd>(.)</kbd> goes to the first difference", prose):
            assert "first difference" in meanings[key], doc.name


def test_the_index_lists_every_page():
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in index, page.name


@pytest.mark.parametrize(("doc", "line"), each(commands))
def test_commands_have_the_flags_that_they_are_shown_with(doc, line, tmp_path):
    name, *args = shlex.split(line, comments=True)[1:]
    command = COMMANDS[name]
    while hasattr(command, "commands"):
        name, *args = args
        command = command.commands[name]
    if "--config" in args:
        config = tmp_path / "config.toml"
        config.write_text((blocks(doc, "toml") or [STARTER.read_text(encoding="utf-8")])[0])
        args[args.index("--config") + 1] = str(config)
    command.make_context(name, args)


@pytest.mark.parametrize(
    ("doc", "snippet"),
    each(
        lambda doc: [] if doc.name == "rl-adapters.md" else blocks(doc, "python")
    ),  # `test_adapter_docs` runs that page
)
def test_snippets_compile_and_import_what_there_is(doc, snippet, monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    compile(snippet, doc.name, "exec")
    for node in ast.walk(ast.parse(snippet)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)
