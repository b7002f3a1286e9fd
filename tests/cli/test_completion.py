"""Shell completion, in a real bash."""

import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from music.cli.shell import build_shell

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")

SCRIPT = """
PATH="$PWD:$PATH"
eval "$(music --show-completion)"
complete -p music
for words in "music s" "music sandbox " "music simulate --strat" "music train pairs --freeze b"; do
    IFS=' ' read -ra COMP_WORDS <<< "$words"
    [[ "$words" == *' ' ]] && COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _music_completion music
    echo "$words: ${COMPREPLY[*]}"
done
"""


def test_bash_completes_commands_flags_and_choices(tmp_path):
    command = tmp_path / "music"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m music "$@"\n')
    command.chmod(0o755)
    run = ["bash", "--norc", "-c", SCRIPT]
    done = subprocess.run(run, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines() == [
        "complete -o default -F _music_completion music",
        "music s: sandbox score serve simulate swap",
        "music sandbox : serve defects turn-labels",
        "music simulate --strat: --strategy",
        "music train pairs --freeze b: backbone",
    ], done.stderr


def test_completing_a_commands_name_loads_no_command(tmp_path, monkeypatch):
    (tmp_path / "heavy").mkdir()
    (tmp_path / "heavy" / "cli.py").write_text('def audit() -> None:\n    """Audit pairs."""\nraise SystemExit(9)\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    shell = build_shell([EntryPoint("audit", "heavy.cli:audit", "music.commands")])
    (found,) = shell.shell_complete(shell.make_context("music", [], resilient_parsing=True), "a")
    assert (found.value, found.help) == ("audit", "Audit pairs.")
