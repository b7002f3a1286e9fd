"""Help as plain text: one list of flags for each panel, in which no flag is cut off, however narrow the terminal.

rich's tables shorten long flags at 80 columns (`--keep-seeds-togeth…`), and no setting of theirs prevents it.
"""

import re
from functools import partial
from typing import Any

__all__ = ["set_plain_help"]

MAX_WIDTH = 100
"""Columns, on terminals that have more."""
_FLAG = re.compile(r"--\w[\w-]*")
_UNBREAKABLE = "\N{NON-BREAKING HYPHEN}"


def set_plain_help(command: Any) -> None:
    """Make a command print its help, and errors of usage, as plain text."""
    command.rich_markup_mode = None
    command.context_settings = {**command.context_settings, "max_content_width": MAX_WIDTH}
    command.format_options = partial(_format_lists, command)


def _format_lists(command: Any, ctx: Any, formatter: Any) -> None:
    """Write arguments, options by panel in order of appearance, and a group's commands."""
    sections: dict[str, list[tuple[str, str]]] = {}
    for param in command.get_params(ctx):
        if record := param.get_help_record(ctx):
            own = "Arguments" if param.param_type_name == "argument" else "Options"
            sections.setdefault(param.rich_help_panel or own, []).append(record)
    commands = getattr(command, "commands", {})
    if commands:
        sections["Commands"] = [(name, _first_paragraph(commands[name])) for name in command.list_commands(ctx)]
    for title, records in sections.items():
        with formatter.section(title):
            formatter.write_dl([(name, _FLAG.sub(_keep_whole, text)) for name, text in records])
    formatter.buffer[:] = [text.replace(_UNBREAKABLE, "-") for text in formatter.buffer]


def _first_paragraph(command: Any) -> str:
    text: str = command.short_help or command.help or ""
    return " ".join(text.partition("\n\n")[0].split())


def _keep_whole(flag: re.Match[str]) -> str:
    """Keep a flag from being broken at its hyphens where lines are wrapped."""
    return flag[0].replace("-", _UNBREAKABLE)
