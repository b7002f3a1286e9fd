"""Judges on the command line: how they are named, and their flags."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from music.cli import client_settings, console, counted, options_flag, run_async
from music.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from music.evaluation.benchmarks.types import ItemSet
    from music.evaluation.scoring import ScoreSet
    from music.judges.by_item import ItemJudge
    from music.judges.model import JudgeModel
    from music.judges.settings import JudgeSettings

__all__ = ["Cache", "MaxCost", "MaxTotalTokens", "Options", "Price", "Prompt", "Samples", "Temperature"]
__all__ += ["judge_benchmark", "read_judge", "read_settings"]

Kind = Literal["rating", "comparing"]

PANEL = "A judge"
KINDS: dict[str, Kind] = {"judge:": "rating", "judge-pairs:": "comparing"}
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


def read_judge(name: str) -> tuple[Kind, str] | None:
    """Return the kind and the endpoint of `judge:ENDPOINT` or `judge-pairs:ENDPOINT`; None for what is no judge."""
    for prefix, kind in KINDS.items():
        if name.startswith(prefix):
            return kind, name.removeprefix(prefix)
    return None


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
    from music.judges.settings import JudgeSettings
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


def judge_benchmark(items: ItemSet, name: str, settings: JudgeSettings, path: Path | None) -> ScoreSet:
    """Score items by the judge of this name, with a progress display.

    Args:
        items: What to judge.
        name: As `read_judge` reads it.
        settings: How it is asked.
        path: File of scores; the judge's replies are kept beside it.

    Raises:
        InvalidInputError: There is no such judge, or the file of scores is another's.
        MusicError: It could not judge; see `judge_items`.
    """
    return run_async(_judge(items, name, settings, path))


async def _judge(items: ItemSet, name: str, settings: JudgeSettings, path: Path | None) -> ScoreSet:
    from functools import partial

    from music.judges.items import judge_items
    from music.judges.model import open_judge_model

    kind, endpoint = read_judge(name) or ("rating", name)
    journal = path.with_suffix(".sqlite") if path is not None else None
    async with open_judge_model(endpoint, settings, journal) as model:
        judge = _by_item(kind, model)
        num_calls = sum(map(judge.num_calls, items.items))
        console.print(f"{name}: {num_calls:,} judgements at the most", markup=False, highlight=False, soft_wrap=True)
        with counted("items", len(items.items)) as advance:
            return await judge_items(items, _in_full(name, settings), judge, path, on_judged=partial(advance, 1))


def _in_full(name: str, settings: JudgeSettings) -> str:
    """Return a judge's name with the flags that its scores depend on, as a file of scores has it."""
    told = settings.model_dump(include={"prompt", "num_samples", "temperature"}, exclude_defaults=True)
    told |= {"options": value} if (value := settings.options.describe_sampling()) else {}
    return " ".join([name, *(f"{_FLAGS[field]} {value}" for field, value in told.items())])


def _by_item(kind: Kind, model: JudgeModel) -> ItemJudge[Any]:
    from music.judges.by_item import ByComparing, ByRating
    from music.judges.pairwise import PairwiseJudge
    from music.judges.pointwise import PointwiseJudge

    return ByRating(PointwiseJudge(model)) if kind == "rating" else ByComparing(PairwiseJudge(model))
