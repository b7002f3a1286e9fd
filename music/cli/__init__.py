"""The command shell: `music COMMAND`.

A command belongs to the room it drives; the shell only finds it, so it imports nothing upward. What a command gets
from here: `--config`, `--version` and one-line errors (from the shell, without its own code), and for its own use
`console` (for people, on stderr), `counted` (progress), `emit` with the `AsJson` flag (the result, on stdout) and
`run_async`.

Adding a command from another distribution takes one function and one entry point in its pyproject.toml::

    # my_package/cli.py: light at the top; heavy imports belong inside the function
    def audit(pairs: Path, limit: int = 100, json: AsJson = False) -> None:
        \"\"\"Audit a file of pairs.\"\"\"

    [project.entry-points."music.commands"]
    audit = "my_package.cli:audit"

The function's parameters are typer's. Under `with_flags`, a parameter annotated with a config model stands for one flag
for each of its fields; `Reading` and `Requests` are models that several commands share. A `typer.Typer` app in place of
the function becomes a command with subcommands. `music --help` shows the first line of its docstring. A MusicError
raised in it ends the command with one line and exit code 1.
"""

from music.aio import run_async
from music.cli.flags import with_flags
from music.cli.output import AsJson, console, counted, emit
from music.cli.shared_flags import Reading, Requests, Retries
from music.cli.shell import build_shell, main

__all__ = ["AsJson", "Reading", "Requests", "Retries", "build_shell", "console", "counted", "emit", "main"]
__all__ += ["run_async", "with_flags"]
