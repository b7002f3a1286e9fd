"""Fixing the date in chat templates that read the clock, and refusing those that draw at random.

transformers gives every chat template `strftime_now`, and many write today's date into the system message. The score of
the same text would then change with the day. `with_fixed_date` puts a macro of that name in front of the template. The
date is then part of the template, so all software that renders it writes the same date.
"""

from functools import lru_cache

import jinja2.ext
from jinja2 import Environment, TemplateError, meta, nodes
from jinja2.parser import Parser

from music.reward.tokens.contract import ContractError

__all__ = ["FIXED_DATE", "require_no_clock", "with_fixed_date"]

FIXED_DATE = "26 Jul 2024"
"""The date that the templates of Llama 3 write without a clock, a Friday. The time is noon, UTC."""

_CLOCK = "strftime_now"
_VALUES = (
    {"%Y": "2024", "%C": "20", "%y": "24", "%G": "2024", "%g": "24", "%m": "07", "%-m": "7", "%d": "26", "%-d": "26"}
    | {"%e": "26", "%B": "July", "%b": "Jul", "%h": "Jul", "%A": "Friday", "%a": "Fri", "%u": "5", "%w": "5"}
    | {"%j": "208", "%-j": "208", "%U": "29", "%W": "30", "%V": "30", "%H": "12", "%-H": "12", "%k": "12", "%I": "12"}
    | {"%-I": "12", "%l": "12", "%M": "00", "%-M": "0", "%S": "00", "%-S": "0", "%f": "000000", "%p": "PM", "%P": "pm"}
    | {"%F": "2024-07-26", "%D": "07/26/24", "%x": "07/26/24", "%T": "12:00:00", "%X": "12:00:00", "%R": "12:00"}
    | {"%r": "12:00:00 PM", "%c": "Fri Jul 26 12:00:00 2024", "%z": "", "%Z": "", "%s": "1721995200"}
    | {"%n": "\n", "%t": "\t"}
)
"""The value of each format code. No value contains a per cent sign, so their order does not matter."""


class _Generation(jinja2.ext.Extension):
    """The tag with which templates mark the assistant's text; only its body matters here."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


@lru_cache(maxsize=64)
def _sources(template: str) -> frozenset[str]:
    """Return what a template reads besides the conversation: `strftime_now`, `lipsum` or the filter `random`.

    The syntax tree is searched, so names that a template defines itself or writes as text do not count.
    """
    environment = Environment(extensions=[jinja2.ext.loopcontrols, _Generation])
    environment.globals.clear()  # else Jinja's own names would count as declared
    try:
        tree = environment.parse(template)
        names = meta.find_undeclared_variables(tree) & {_CLOCK, "lipsum"}
    except TemplateError as error:
        raise ContractError(f"the chat template is not a valid Jinja template: {error}") from error
    is_random = any(map(_may_be_random, tree.find_all(nodes.Filter)))
    return frozenset(names | ({"random"} if is_random else set()))


def _may_be_random(node: nodes.Filter) -> bool:
    """Whether this filter is `random`, or `map` with it or with a filter that is known only during rendering."""
    if node.name == "map" and (node.args or node.dyn_args):
        applied = node.args[0] if node.args else None
        return not isinstance(applied, nodes.Const) or applied.value == "random"
    return node.name == "random"


def _macro(template: str) -> str:
    """Return a macro that replaces the clock and handles the format codes that the template contains."""
    steps = [(code, value) for code, value in _VALUES.items() if code in template]
    if "%%" in template:
        steps = [("%%", "\0"), *steps, ("\0", "%")]
    replaced = "".join(f" | replace({code!r}, {value!r})" for code, value in steps)
    # `trim_blocks` drops the newline after the last tag, so that the template renders as before.
    comment = f"{{#- The date is fixed at {FIXED_DATE}: scores must not change with the day. -#}}"
    return f"{comment}{{%- macro {_CLOCK}(format) -%}}{{{{- format{replaced} -}}}}{{%- endmacro %}}\n"


def with_fixed_date(template: str, text: str | None = None) -> str:
    """Return a chat template that writes a fixed date instead of today's; any other template is returned unchanged.

    Args:
        template: The template.
        text: What it writes instead of the date, without quotes or backslashes; by default `FIXED_DATE`, in the
            template's own format.

    Raises:
        ContractError: The template is not valid.
    """
    if _CLOCK not in _sources(template):
        return template
    macro = _macro(template) if text is None else f"{{%- macro {_CLOCK}(format) -%}}{text}{{%- endmacro %}}\n"
    return macro + template


def require_no_clock(template: str) -> None:
    """Check that a chat template renders the same conversation in the same way at any time.

    Raises:
        ContractError: The template reads the clock or draws at random.
    """
    sources = _sources(template)
    if _CLOCK in sources:
        raise ContractError(
            f"the chat template writes today's date ({_CLOCK}), so the score of the same text would change with the "
            f"day. Train the model again, which fixes the date at {FIXED_DATE}. Or write the date of its training in "
            "place of the call in the template, and the template's SHA-256 in the score contract. For a tokenizer of "
            "your own: `tokenizer.chat_template = with_fixed_date(tokenizer.chat_template)`, of "
            "`music.reward.tokens.fixed_date`"
        )
    if sources:
        raise ContractError(
            f"the chat template draws at random ({', '.join(sorted(sources))}), so the same text would have another "
            "score each time: take that out of the template and save the tokenizer again"
        )
