"""A judge's flags on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from music.cli import client_settings, options_flag
from music.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from music.judges.settings import JudgeSettings

__all__ = ["Cache", "MaxCost", "MaxTotalTokens", "Options", "Price", "Prompt", "Samples", "Temperature"]
__all__ += ["read_settings"]

PANEL = "A judge"
_FLAGS = {
    "prompt": "--judge-prompt",
    "num_samples": "--judge-samples",
    "temperature": "--judge-temperature",
    "max_cost": "--judge-max-cost",
    "max_total_tokens": "--judge-max-total-tokens",
    "prices": "--judge-price",
    "cache": "--judge-cache",
    "options": "--judge-option",
    "client": "--max-tries, --patience",
}
"""By the field of `JudgeSettings` that each sets; a command has it as its parameter `judge_FIELD`."""

Prompt = Annotated[
    str | None,
    typer.Option(
        _FLAGS["prompt"],
        metavar="P",
        help="overall, another prompt's name, or a jinja2 file.",
        show_default="overall",
        rich_help_panel=PANEL,
    ),
]
Samples = Annotated[
    int | None,
    typer.Option(
        _FLAGS["num_samples"], min=1, help="Judgements of each question.", show_default="1", rich_help_panel=PANEL
    ),
]
Temperature = Annotated[
    float | None,
    typer.Option(_FLAGS["temperature"], min=0.0, help="Left to the endpoint by default.", rich_help_panel=PANEL),
]
MaxCost = Annotated[
    float | None,
    typer.Option(_FLAGS["max_cost"], min=0.0, help="USD at which it is asked no more.", rich_help_panel=PANEL),
]
MaxTotalTokens = Annotated[
    int | None, typer.Option(_FLAGS["max_total_tokens"], min=1, help="Likewise, tokens.", rich_help_panel=PANEL)
]
Price = Annotated[
    list[str] | None,
    typer.Option(
        _FLAGS["prices"],
        metavar="MODEL=PROMPT:COMPLETION[:CACHED]",
        help="USD per million tokens; may be repeated.",
        rich_help_panel=PANEL,
    ),
]
Cache = Annotated[
    Path | None,
    typer.Option(
        _FLAGS["cache"],
        metavar="FILE",
        help="Replies that runs share: what one has paid for is free to the next.",
        rich_help_panel=PANEL,
    ),
]


Options = Annotated[
    list[str] | None,
    options_flag(_FLAGS["options"], "Of a judge's requests, as --option of music simulate; may be repeated."),
]


def read_settings(
    names: Sequence[str | None],
    max_in_flight: int,
    given: Mapping[str, Any],
    *,
    max_tries: int | None = None,
    patience: float | None = None,
) -> JudgeSettings:
    """Return the settings that flags name.

    Args:
        names: Of whatever may be a judge.
        max_in_flight: Bound on simultaneous requests.
        given: The command's parameters, those of `_FLAGS` among them; None for one that was not given.
        max_tries: Of one request.
        patience: Seconds in which an outage uses up no tries.

    Raises:
        InvalidInputError: A flag was given, and there is no judge; or an option cannot be read.
    """
    from music.judges.settings import JudgeSettings, read_judge
    from music.llm.options import parse_options

    values = {field: value for field in _FLAGS if (value := given.get(f"judge_{field}")) is not None}
    if options := values.get("options"):
        short = {_FLAGS["temperature"]: ("temperature", values.get("temperature"))}
        values["options"] = parse_options(options, flags=short, name=_FLAGS["options"])[""]
    if max_tries is not None or patience is not None:
        values["client"] = client_settings(max_tries, patience)
    if values and not any(name and read_judge(name) for name in names):
        flags = ", ".join(_FLAGS[field] for field in values)
        raise InvalidInputError(f"{flags}: expected a judge (judge:MODEL@URL) to go with it, got none")
    return JudgeSettings(max_in_flight=max_in_flight, **values)
