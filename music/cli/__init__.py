"""The command shell: `music COMMAND`.

Each command is defined in the package it runs. The shell finds commands by entry point and imports none of them. It
gives every command `--config`, `--version` and one-line errors. Commands use `console` (messages on stderr), `counted`
(progress), `emit` with the `AsJson` flag (the result, on stdout) and `run_async`.

To add a command from another distribution, write a function and an entry point in its pyproject.toml::

    # my_package/cli.py: put heavy imports inside the function
    def audit(pairs: Path, limit: int = 100, json: AsJson = False) -> None:
        \"\"\"Audit a file of pairs.\"\"\"

    [project.entry-points."music.commands"]
    audit = "my_package.cli:audit"

The function's parameters are typer's. With `with_flags`, a parameter annotated with a config model becomes one flag for
each of its fields; `Reading` and `Requests` are models that several commands share. A `typer.Typer` app in place of the
function becomes a command with subcommands. `music --help` shows the first paragraph of the docstring. A MusicError
raised in the function ends the command with one line and exit code 1.
"""

from music.aio import run_async
from music.cli.flags import with_flags
from music.cli.output import AsJson, console, counted, emit, note
from music.cli.shared_flags import Reading, Requests, Retries
from music.cli.shell import build_shell, main

__all__ = ["AsJson", "Reading", "Requests", "Retries", "build_shell", "console", "counted", "emit", "main"]
__all__ += ["note", "run_async", "with_flags"]
