"""The `music` command itself: finds commands by entry point, loads them late, and words their errors."""

import logging
from collections import UserDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from pydantic import ValidationError
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group

from music.cli.config import apply_config
from music.cli.flags import in_one_line
from music.cli.help import first_paragraph, read_docstring, set_plain_help
from music.cli.output import console
from music.errors import MusicError
from music.interrupts import INTERRUPTED, command_interrupts

__all__ = ["ENTRY_POINT_GROUP", "build_shell", "main"]

ENTRY_POINT_GROUP = "music.commands"
PARAMS = "music.params"
"""Where the shell finds the parameters of the command that runs, in click's shared `meta`."""

Command = TyperCommand | TyperGroup


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line; ends in SystemExit with the command's exit code."""
    _show_notes()
    with command_interrupts():
        build_shell(metadata.entry_points(group=ENTRY_POINT_GROUP)).main(args=args, prog_name="music")


def _show_notes() -> None:
    """Let the library's own notes reach the terminal: that the hub is asked for a model, for example."""
    logging.getLogger("music").setLevel(logging.INFO)
    if logging.lastResort is not None:
        logging.lastResort.setLevel(logging.INFO)  # of other libraries, warnings alone pass the root logger


def build_shell(commands: Iterable[EntryPoint]) -> TyperGroup:
    """Return the command group over these entry points, none of them loaded yet."""
    app = typer.Typer(cls=_Shell, no_args_is_help=True, add_completion=False)
    app.callback()(_music)
    shell = get_group(app)
    set_plain_help(shell)
    shell.commands = _LazyCommands({entry_point.name: entry_point for entry_point in commands})
    return shell


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"music-rm {metadata.version('music-rm')}")
        raise typer.Exit


def _begin(ctx: typer.Context, config: Path | None) -> None:
    """Note which command runs, and apply its config file."""
    ctx.meta[PARAMS] = ctx.command.params
    apply_config(ctx, config)


Version = Annotated[
    bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_print_version)
]
Config = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.toml",
        help="Read flags from this file; the command line wins.",
        is_eager=True,
        callback=_begin,
    ),
]


def _music(version: Version = False) -> None:
    """Reward models that judge whole conversations: simulate contrastive pairs, train on them, use the reward."""


def _shared(config: Config = None, version: Version = False) -> None:
    """Declare the flags that every command gets; never called."""


class _Shell(TyperGroup):
    """A group whose commands' errors are one line each."""

    def invoke(self, ctx: Any) -> Any:
        """Parse and run a command."""
        with _plain_errors(ctx):
            return super().invoke(ctx)


class _LazyCommands(UserDict[str, Any]):
    """Commands by name; an entry point is loaded when its name is first looked up."""

    def __getitem__(self, name: str) -> Command:
        value = super().__getitem__(name)
        if isinstance(value, EntryPoint):
            value = self[name] = _load(value)
        return cast(Command, value)

    def summary(self, name: str) -> str:
        """Return the first paragraph of a command's help, without importing its module where that is possible."""
        value = self.data[name]
        return (isinstance(value, EntryPoint) and read_docstring(value)) or first_paragraph(self[name])


def _load(entry_point: EntryPoint) -> Command:
    """Load a command; one that cannot be imported is stood in for, so that the others keep working."""
    try:
        target = entry_point.load()
    except Exception as error:  # noqa: BLE001 - a plug-in may fail in any way; the failure is shown, not lost
        return _failed(entry_point, error)
    return _as_command(target, entry_point.name)


def _as_command(target: Any, name: str) -> Command:
    """Turn a typer app, or a function with typer's parameters, into a command with the shell's flags."""
    if isinstance(target, typer.Typer):
        # Not get_command: that would drop the level of an app with a single subcommand.
        command: Any = get_group(target)
    else:
        app = typer.Typer(add_completion=False)
        app.command(name)(target)
        command = get_command(app)
    command.name = name
    for each in _tree(command):
        set_plain_help(each)
        if not isinstance(each, TyperGroup):
            each.params.extend(_shared_options())
    return cast(Command, command)


def _shared_options() -> list[Any]:
    """Return the flags that every command gets; typer makes them, since how is a matter of its version."""
    app = typer.Typer(add_completion=False)
    app.command()(_shared)
    options: list[Any] = get_command(app).params
    for option in options:
        option.expose_value = False
    return options


def _tree(command: Any) -> Iterator[Any]:
    """Yield the command itself, and all commands below it."""
    yield command
    for child in getattr(command, "commands", {}).values():
        yield from _tree(child)


def _failed(entry_point: EntryPoint, error: Exception) -> Command:
    """Return a command that says why the real one could not be loaded."""
    reason = f"cannot be loaded: {type(error).__name__}: {error}, from entry point {entry_point.value}"

    def fail() -> None:
        raise MusicError(f"command {entry_point.name!r} {reason}; install what it needs, or remove it") from error

    app = typer.Typer(add_completion=False)
    settings = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command(entry_point.name, help=escape(f"({reason})"), context_settings=settings)(fail)
    return cast(Command, get_command(app))


@contextmanager
def _plain_errors(ctx: Any) -> Iterator[None]:
    """Print what a user can fix as one line and exit with code 1; let a bug keep its traceback."""
    try:
        yield
    except KeyboardInterrupt:
        console.print("interrupted")
        raise typer.Exit(INTERRUPTED) from None
    except (MusicError, ValidationError, OSError) as error:
        if (line := in_one_line(error, ctx.meta.get(PARAMS, ()))) is None:
            raise
        console.print(f"[bold red]error:[/] {escape(line)}", soft_wrap=True, highlight=False)
        raise typer.Exit(1) from error
