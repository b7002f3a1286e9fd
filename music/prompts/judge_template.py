"""Templates of judges' prompts, by the names of this package's own or as a user's file.

One that begins with `{% extends base %}` fills the block `criteria`, by which a judge goes, and serves comparisons and
ratings alike; the frame around it asks for the format that is read. One that extends nothing is a whole prompt: of a
comparison if it shows `first` and `second`, of a rating if it shows `conversation` (with `lowest` and `highest`, the
ends of the scale).
"""

from functools import cache
from pathlib import Path

from music.errors import InvalidInputError
from music.prompts.template import SUFFIX, PromptTemplate

__all__ = ["load_template", "template_names"]

_FOLDER = Path(__file__).with_name("judging")
_NEEDS = {
    "[[": "ask for a mark in double brackets at the end, such as [[A]] for a comparison or [[7]] for a rating; begin "
    "it with {% extends base %}, or ask for one"
}


def template_names() -> tuple[str, ...]:
    """Return the names of this package's templates."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*" + SUFFIX)))


@cache
def load_template(name: str = "overall") -> PromptTemplate:
    """Return the template of a name, or that of a user's file.

    Raises:
        InvalidInputError: There is neither, or the file cannot be read, or holds no template.
    """
    path = _FOLDER / (name + SUFFIX) if name in template_names() else Path(name)
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"judge's prompt {name!r}: expected one of {', '.join(template_names())}, or a readable file: {error}"
        ) from error
    return PromptTemplate("judge's prompt", name, source, _NEEDS)
