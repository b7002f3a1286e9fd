"""What config models share: `Config`, their base, and `Flag`, which adjusts how the command line shows a field.

A config is written once. `music.cli.with_flags` derives a command's flags from it, and `--config FILE.toml` its keys.
"""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

__all__ = ["Config", "Flag"]


class Config(BaseModel):
    """A frozen model with named fields only; the string under a field is its description, and its flag's help."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


@dataclass(frozen=True, kw_only=True)
class Flag:
    """How a field of a config is typed on the command line: `Annotated[int, Flag(panel="Steps")]`.

    Args:
        name: The flag, where it is not the field's name with hyphens. A bool with a name has no `--no-` form.
        panel: Heading of the help under which it stands. On a field that is itself a config: of all its flags.
        metavar: What stands for its value in the help.
        show_default: Words for the default, where a number would mislead.
        is_argument: Whether it is typed without a flag.
        is_hidden: Whether it is not a flag at all.
        extends_file: Whether values of `--config` come before those of the command line, instead of giving way to them.
    """

    name: str | None = None
    panel: str | None = None
    metavar: str | None = None
    show_default: str | bool = True
    is_argument: bool = False
    is_hidden: bool = False
    extends_file: bool = False
