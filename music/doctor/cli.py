"""`music doctor`: checks the installation, the machine and endpoints."""

from typing import TYPE_CHECKING, Annotated

import typer

from music.cli import AsJson, emit, run_async

if TYPE_CHECKING:
    from rich.table import Table

    from music.doctor.check import Check

__all__ = ["doctor"]

_STYLES = {"ok": "green", "optional": "dim", "problem": "bold red"}


def doctor(
    endpoint: Annotated[
        list[str] | None,
        typer.Option(metavar="MODEL@BASE_URL", help="An endpoint to ask a short question; may be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check versions, devices, folders and endpoints, and report what is missing and how to get it.

    The exit code is 0 if all that is needed is there, else 1.

    Example: music doctor --endpoint gemma-2-9b-it@http://127.0.0.1:8000/v1
    """
    from rich.console import Group
    from rich.text import Text

    from music.doctor.check import State
    from music.doctor.endpoints import check_endpoint
    from music.doctor.machine import check_devices, check_folders, check_hub
    from music.doctor.packages import check_extras, check_packages

    checks = [*check_packages(), *check_devices(), *check_folders(), check_hub(), *check_extras()]
    for spec in endpoint or ():
        checks += run_async(check_endpoint(spec))
    problems = [each for each in checks if each.state is State.PROBLEM]
    lines = (
        [f"{len(problems)} problem{'s' if problems[1:] else ''}:"] if problems else ["OK: all that is needed is there."]
    )
    lines += [f"  {each.name}: {each.text}\n    fix: {each.fix}" for each in problems]
    verdict = Text("\n".join(lines), style="red" if problems else "green")
    emit({"ok": not problems, "checks": checks}, as_json, Group(_table(checks), Text(), verdict))
    raise typer.Exit(1 if problems else 0)


def _table(checks: "list[Check]") -> "Table":
    """Return a table of all checks, with the command that gets what is missing below each."""
    from rich.table import Table
    from rich.text import Text

    table, area = Table.grid(padding=(0, 2, 0, 0)), ""
    for each in checks:
        text = f"{each.text}\n{each.fix}" if each.fix else each.text
        mark = Text(each.state, style=_STYLES[each.state])
        table.add_row(each.area if each.area != area else "", mark, Text(each.name), Text(text, overflow="fold"))
        area = each.area
    return table
