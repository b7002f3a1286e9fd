"""`PromptTemplate`: a custom prompt, as a jinja2 template.

A template that begins with `{% extends base %}` fills a block of the built-in prompt; one that extends nothing is a
whole prompt. Templates run in jinja2's sandbox: they cannot reach into Python or read files.
"""

import traceback
from collections.abc import Iterable, Mapping
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from music.errors import InvalidInputError

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

__all__ = ["SUFFIX", "PromptTemplate"]

SUFFIX = ".jinja"
_FRAMES = Path(__file__).with_name("frames")
_FILENAME = "<template>"
"""The file name in jinja2's tracebacks of a template that was loaded from text."""


class PromptTemplate:
    """A template of a prompt.

    Args:
        what: The kind of prompt, for messages: `judge's prompt`.
        name: Its name, for messages.
        source: Its text.
        needs: Texts that every rendered prompt must contain, each with advice for a prompt that does not.

    Raises:
        InvalidInputError: It is not a jinja2 template.
    """

    def __init__(self, what: str, name: str, source: str, needs: Mapping[str, str] | None = None) -> None:
        from jinja2 import TemplateError

        self.name = name
        self.digest = blake2b(source.encode(), digest_size=4).hexdigest()
        self._what = f"{what} {name}"
        self._needs = needs or {}
        try:
            self._template = _environment().from_string(source)
        except TemplateError as error:
            raise InvalidInputError(f"{self._what}: expected a jinja2 template: {_reason(error)}") from error

    def render(self, base: str, values: Mapping[str, object], shown: Iterable[str] = ()) -> str:
        """Render the prompt.

        Args:
            base: The built-in prompt that it may extend.
            values: Values of the template's variables, by name.
            shown: The names that an error mentions; by default all.

        Raises:
            InvalidInputError: The template cannot be filled in.
        """
        from jinja2 import TemplateError

        try:
            return self._template.render(values, base=base + SUFFIX)
        except (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            wanted = " and ".join(shown or values)
            raise InvalidInputError(
                f"{self._what}: expected one that can be filled in with {wanted}: {_reason(error)}"
            ) from error

    def require(self, base: str, names: Iterable[str], values: Mapping[str, object] | None = None) -> None:
        """Refuse an unusable template.

        Args:
            base: As for `render`.
            names: Names of the values that it must show.
            values: All other values.

        Raises:
            InvalidInputError: It leaves a value out, lacks a needed text, or is empty.
        """
        probes = {name: f"probe-{number}" for number, name in enumerate(names)}
        text = self.render(base, {**(values or {}), **probes}, shown=probes)
        if not text.strip():
            raise InvalidInputError(f"{self._what}: expected text, got none")
        for name, probe in probes.items():
            if probe not in text:
                raise InvalidInputError(f"{self._what}: expected it to show {{{{ {name} }}}}; add that")
        for needed, advice in self._needs.items():
            if needed not in text:
                raise InvalidInputError(f"{self._what}: expected it to {advice}")


@cache
def _environment() -> "SandboxedEnvironment":
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    # Only the frames can be extended or included, by their names.
    frames = {path.name: path.read_text(encoding="utf-8") for path in _FRAMES.glob("*" + SUFFIX)}
    return ImmutableSandboxedEnvironment(loader=jinja2.DictLoader(frames), undefined=jinja2.StrictUndefined)


def _reason(error: Exception) -> str:
    """Return jinja2's message on one line, with the line of the template if it is known."""
    places = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == _FILENAME]
    line = getattr(error, "lineno", None) or (places[0] if places else None)
    return " ".join(str(error).split())[:300] + (f" (line {line})" if line else "")
