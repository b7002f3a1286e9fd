"""Help as plain text: one list of flags for each panel, with whole flags at any terminal width.

rich's tables shorten long flags at 80 columns (`--keep-seeds-togeth…`), and no setting prevents it.
"""

import ast
import re
from functools import partial
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["first_paragraph", "read_docstring", "set_plain_help"]

MAX_WIDTH = 100
"""Columns on wider terminals."""
_FLAG = re.compile(r"--\w[\w-]*")
_UNBREAKABLE = "\N{NON-BREAKING HYPHEN}"


def set_plain_help(command: Any) -> None:
    """Make a command print its help and usage errors as plain text."""
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
    if commands := getattr(command, "commands", {}):
        summary = getattr(commands, "summary", lambda name: first_paragraph(commands[name]))
        sections["Commands"] = [(name, summary(name)) for name in commands]
    for title, records in sections.items():
        with formatter.section(title):
            formatter.write_dl([(name, _FLAG.sub(_keep_whole, text)) for name, text in records])
    formatter.buffer[:] = [text.replace(_UNBREAKABLE, "-") for text in formatter.buffer]


def first_paragraph(command: Any) -> str:
    """Return the first paragraph of a command's help, in one line."""
    return _in_one_line(command.short_help or command.help or "")


def read_docstring(entry_point: EntryPoint) -> str:
    """Return the first paragraph of a function's docstring from its source, without an import; "" if not found.

    `music --help` would otherwise import every command's module, most of a second of CPU time.
    """
    top, *inner = entry_point.module.split(".")
    package = find_spec(top)
    folders = package and package.submodule_search_locations
    paths = [Path(folder, *inner).with_suffix(".py") for folder in folders or ()]
    source = next((path for path in paths if path.is_file()), None)
    if source is None:
        return ""
    body = ast.parse(source.read_text(encoding="utf-8")).body
    found = (node for node in body if isinstance(node, ast.FunctionDef) and node.name == entry_point.attr)
    return _in_one_line(next((ast.get_docstring(node) or "" for node in found), ""))


def _in_one_line(text: str) -> str:
    return " ".join(text.partition("\n\n")[0].split())


def _keep_whole(flag: re.Match[str]) -> str:
    """Keep line wrapping from breaking a flag at its hyphens."""
    return flag[0].replace("-", _UNBREAKABLE)
