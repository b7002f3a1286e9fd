"""Every snippet of the docs runs, or its page says in front of it what it needs.

The blocks of a page run in order, in one folder, which holds the files that pages speak of: `runs/rm`, `held_out.jsonl`
and others; for pages that begin from scratch it is empty. A block that cannot run here is marked on the line before it:

    <!-- not run: needs a GPU and the network -->

In a transcript (`$ music ...`) every line that is shown has to come, whatever the figures in it; `[...]` stands for
lines that are left out. `music` runs in this process; servers run in others, on free ports, until the page ends.
"""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from contextlib import ExitStack, nullcontext
from importlib import metadata
from pathlib import Path
from shutil import copytree
from urllib.request import urlopen

import pytest

from music.cli.shell import ENTRY_POINT_GROUP, build_shell
from music.evaluation.benchmarks import registry as benchmarks
from music.preferences import write_preferences
from music.sandbox import BACKBONE, REWARD_MODEL
from music.sandbox.world.seeds import contrast_pairs
from music_agents.contrasts import registry as contrasts
from tools.snippets import is_server, on_free_ports, snippets, steps, with_port

ROOT = Path(__file__).parents[1]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "AGENTS.md", *sorted((ROOT / "skills").glob("*/SKILL.md"))]
NEEDS = {"a GPU", "a key", "the network", "an endpoint", "your files", "a cluster", "minutes", "an extra", "a fault"}
RUN_ELSEWHERE = {
    ("rl-adapters.md", "python"),  # tests/envs/adapters/test_adapter_docs.py
    ("personas.md", "python"),  # tests/agents/personas/test_personas.py
    ("serving.md", "python"),  # tests/serving/test_page.py, with the requests
    ("serving.md", "sh"),
}
FROM_SCRATCH = {"start-here.md", "first-hour.md", "recipes.md", "AGENTS.md", "SKILL.md"}
FIGURE = re.compile(r"[-+]?(\d+(,\d{3})*(\.\d+)?|\.\d+)(e[-+]?\d+)?")
LISTED = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
POINTS = [(name, target, ENTRY_POINT_GROUP) for name, target in LISTED[ENTRY_POINT_GROUP].items()]
SHELL = build_shell(metadata.EntryPoint(*point) for point in POINTS)  # the commands of this tree, whatever is installed
COMMAND_LINE = f"""
from importlib.metadata import EntryPoint
from music.cli.shell import build_shell
build_shell([EntryPoint(*point) for point in {POINTS!r}]).main(prog_name="music")
"""


def mask(text):
    """Return the lines of an output without figures, rules and the width of columns."""
    lines = (" ".join(FIGURE.sub("#", re.sub("[─┈]+", "", line)).split()) for line in text.splitlines())
    return [line for line in lines if line]


class Session:
    """The variables and the servers of a page."""

    def __init__(self, monkeypatch, capsys, stack):
        self.monkeypatch, self.capsys, self.stack = monkeypatch, capsys, stack
        self.names, self.ports = {"__name__": "__main__"}, {}

    def run(self, language, text):
        text = on_free_ports(text, self.ports)
        if language == "python":
            exec(compile(text, "snippet", "exec"), self.names)
            return
        for command, output in steps(text):
            came = mask(self.call(command))
            for line in mask(output):
                assert line == "[...]" or line in came, f"{command}\nshows: {line}\ncame:\n" + "\n".join(came)

    def call(self, command):
        """Run a command line; return its output."""
        self.capsys.readouterr()
        if assigned := re.fullmatch(r"(\w+)=(\S*|\$\(.*\))(\s+#.*)?", command):
            self.monkeypatch.setenv(assigned[1], self.bash(f'printf %s "{assigned[2]}"'))
        elif is_server(command):
            return self.serve(shlex.split(os.path.expandvars(with_port(command, self.ports)), comments=True)[1:])
        elif re.match(
            r"music .*--(import|install-completion)\b", command
        ):  # a file is imported once; a shell is the parent
            return self.bash(f"{shlex.join([sys.executable, '-c', COMMAND_LINE])} {command.removeprefix('music ')}")
        elif command.startswith("music "):
            with pytest.raises(SystemExit) as end:
                SHELL.main(args=shlex.split(os.path.expandvars(command), comments=True)[1:], prog_name="music")
            out = "".join(self.capsys.readouterr())
            assert not end.value.code, out
            return out
        elif command.startswith("cd "):
            self.monkeypatch.chdir(command.removeprefix("cd "))
        else:
            return self.bash(command)
        return ""

    def bash(self, command):
        path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])  # `python` is this one
        environment = os.environ | {"PATH": path, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run(
            ["bash", "-euc", command],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        return done.stdout

    def serve(self, args):
        """Start a server that answers until the page ends; return its first line of output."""
        args = [arg for arg in args if arg != "&"]
        path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])  # `python` is this one
        environment = os.environ | {"PATH": path, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        process = self.stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", COMMAND_LINE, *args], env=environment, stdout=subprocess.PIPE, text=True
            )
        )
        self.stack.callback(process.terminate)
        address = process.stdout.readline().strip()
        assert address, f"music {shlex.join(args)} did not start; if it cannot start here, mark its block"
        with urlopen(address) if args[0] == "view" else nullcontext():
            return address


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Make the files that pages speak of."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "runs").mkdir()
    (folder / "runs/rm").symlink_to(REWARD_MODEL)
    (folder / "BASE").symlink_to(BACKBONE)
    (folder / "examples").symlink_to(ROOT / "examples")
    for name, seed in (("held_out", 1), ("pairs", 2)):
        for suffix in ("jsonl", "parquet"):
            write_preferences(contrast_pairs(24, seed, max_turns=2), folder / f"{name}.{suffix}")
    return folder


@pytest.fixture
def folder(page, tmp_path, monkeypatch, files):
    """Run in a folder of its own, and forget what a page registers."""
    if page.name not in FROM_SCRATCH:
        copytree(files, tmp_path, symlinks=True, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))  # completion is installed there
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.setattr(contrasts, "_REGISTRY", dict(contrasts._REGISTRY))
    monkeypatch.setattr(benchmarks, "_benchmarks", dict(benchmarks._benchmarks))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_what_a_page_shows_runs(page, folder, monkeypatch, capsys):
    with ExitStack() as stack:
        session = Session(monkeypatch, capsys, stack)
        for needs, language, text in snippets(page):
            if not needs and (page.name, language) not in RUN_ELSEWHERE:
                session.run(language, text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_what_does_not_run_says_what_it_needs(page):
    for needs, _, text in snippets(page):
        assert set(filter(None, re.split(", | and ", needs))) <= NEEDS, f"{needs}: {text}"


@pytest.mark.parametrize(
    "text", ["$ echo 3 pairs kept\n3 pairs dropped\n", "$ false\n", "$ music score missing missing\n"]
)
def test_a_transcript_that_no_longer_holds_fails(text, monkeypatch, capsys):
    with ExitStack() as stack, pytest.raises(AssertionError, match=r"shows|false|missing"):
        Session(monkeypatch, capsys, stack).run("", text)


def test_figures_of_a_transcript_may_differ(monkeypatch, capsys):
    with ExitStack() as stack:
        Session(monkeypatch, capsys, stack).run(
            "", "$ echo '  7 pairs, -.3 [1.0, 2e-3]'\n12,000 pairs, +1.25 [0, 1]\n[...]\n"
        )
