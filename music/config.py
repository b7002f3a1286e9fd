"""`Config`, the base of config models, and `Flag`, which adjusts the command-line flag of a field.

A config is declared once. `music.cli.with_flags` derives a command's flags and the keys of `--config FILE.toml` from
it.
"""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

__all__ = ["Config", "Flag"]


class Config(BaseModel):
    """A frozen model with keyword fields; the string under a field is its description and the help of its flag."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


@dataclass(frozen=True, kw_only=True)
class Flag:
    """The command-line flag of a config's field: `Annotated[int, Flag(panel="Steps")]`.

    Args:
        name: The flag; by default the field's name with hyphens. A bool with a name has no `--no-` form.
        panel: Heading in the help. On a field that is itself a config, the heading of all its flags.
        metavar: Placeholder of its value in the help.
        show_default: Text shown for the default, where a number would mislead.
        is_argument: Whether it is a positional argument.
        is_hidden: Whether it has no flag.
        extends_file: Whether values of the command line are appended to those of `--config` instead of replacing them.
    """

    name: str | None = None
    panel: str | None = None
    metavar: str | None = None
    show_default: str | bool = True
    is_argument: bool = False
    is_hidden: bool = False
    extends_file: bool = False
