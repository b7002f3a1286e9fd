"""The `music` command: finds commands by entry point, loads them lazily, and prints their errors."""

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
from music.quiet import hide_missing_kernels

__all__ = ["ENTRY_POINT_GROUP", "build_shell", "main"]

ENTRY_POINT_GROUP = "music.commands"
PARAMS = "music.params"
"""Key of the running command's parameters in click's shared `meta`."""

Command = TyperCommand | TyperGroup


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line.

    Raises:
        SystemExit: Always, with the command's exit code.
    """
    _show_notes()
    with command_interrupts():
        build_shell(metadata.entry_points(group=ENTRY_POINT_GROUP)).main(args=args, prog_name="music")


def _show_notes() -> None:
    """Show the library's notes in the terminal, for example that a model is downloaded from the hub."""
    hide_missing_kernels()
    logging.getLogger("music").setLevel(logging.INFO)
    if logging.lastResort is not None:
        logging.lastResort.setLevel(logging.INFO)  # the root logger passes only warnings of other libraries


def build_shell(commands: Iterable[EntryPoint]) -> TyperGroup:
    """Return the command group of these entry points, without loading them."""
    app = typer.Typer(cls=_Shell, no_args_is_help=True)
    app.callback()(_music)
    shell = cast(TyperGroup, get_command(app))  # unlike get_group, it adds the options of completion
    set_plain_help(shell)
    shell.commands = _LazyCommands({entry_point.name: entry_point for entry_point in commands})
    return shell


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"music-rm {metadata.version('music-rm')}")
        raise typer.Exit


def _begin(ctx: typer.Context, config: Path | None) -> None:
    """Store the running command's parameters, and apply its config file."""
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
    """Declare the flags of every command; never called."""


class _Shell(TyperGroup):
    """A group that prints a command's errors in one line."""

    def invoke(self, ctx: Any) -> Any:
        """Parse and run a command."""
        with _plain_errors(ctx):
            return super().invoke(ctx)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Complete the name of a command from the summaries, as loading all commands takes a second."""
        commands: Any = self.commands
        self.commands = {name: TyperCommand(name, help=commands.summary(name)) for name in commands}
        try:
            return super().shell_complete(ctx, incomplete)
        finally:
            self.commands = commands


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
    """Load a command, or return a replacement that reports why it cannot be loaded; other commands keep working."""
    try:
        target = entry_point.load()
    except Exception as error:  # noqa: BLE001 - a plug-in may fail in any way; the failure is shown, not lost
        return _failed(entry_point, error)
    return _as_command(target, entry_point.name)


def _as_command(target: Any, name: str) -> Command:
    """Convert a typer app, or a function with typer's parameters, to a command with the shell's flags."""
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
    """Return the flags of every command, made by typer because their form depends on its version."""
    app = typer.Typer(add_completion=False)
    app.command()(_shared)
    options: list[Any] = get_command(app).params
    for option in options:
        option.expose_value = False
    return options


def _tree(command: Any) -> Iterator[Any]:
    """Yield a command and all commands below it."""
    yield command
    for child in getattr(command, "commands", {}).values():
        yield from _tree(child)


def _failed(entry_point: EntryPoint, error: Exception) -> Command:
    """Return a command that reports why the real one cannot be loaded."""
    reason = f"cannot be loaded: {type(error).__name__}: {error}, from entry point {entry_point.value}"

    def fail() -> None:
        raise MusicError(f"command {entry_point.name!r} {reason}; install what it needs, or remove it") from error

    app = typer.Typer(add_completion=False)
    settings = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command(entry_point.name, help=escape(f"({reason})"), context_settings=settings)(fail)
    return cast(Command, get_command(app))


@contextmanager
def _plain_errors(ctx: Any) -> Iterator[None]:
    """Print errors that a user can fix in one line and exit with code 1; other errors keep their traceback."""
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
