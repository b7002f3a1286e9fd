"""Help is readable on a terminal of 80 columns."""

import re
from importlib.metadata import entry_points

import pytest

from music.cli import build_shell
from music.cli.shell import ENTRY_POINT_GROUP

SHELL = build_shell(entry_points(group=ENTRY_POINT_GROUP))


def leaves(command, path=()):
    """Yield each command with the words that call it."""
    children = getattr(command, "commands", {})
    for name in children:
        yield from leaves(children[name], (*path, name))
    if not children:
        yield path, command


def help_of(path, capsys):
    with pytest.raises(SystemExit):
        SHELL.main(args=[*path, "--help"], prog_name="music")
    return capsys.readouterr().out


@pytest.fixture(autouse=True)
def _narrow(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.parametrize(("path", "command"), [pytest.param(*leaf, id=" ".join(leaf[0])) for leaf in leaves(SHELL)])
def test_every_flag_is_shown_whole_at_80_columns(path, command, capsys):
    shown = help_of(path, capsys)
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown
    assert max(map(len, shown.splitlines())) <= 80
    flags = [flag for param in command.params for flag in (*param.opts, *param.secondary_opts) if flag[0] == "-"]
    listed = re.findall(r"--[\w-]+", " ".join(line for line in shown.splitlines() if line.startswith("  --")))
    assert set(flags) - {"--with-parent"} <= set(listed)
    assert not re.search(r"--?[\w-]*-$", shown, re.MULTILINE), "a flag is broken over two lines"


def test_commands_are_described_in_whole_sentences(capsys):
    shown = help_of((), capsys)
    assert "..." not in shown.replace("[ARGS]...", "")
    assert all(name in shown for name in SHELL.commands)
