"""`music simulate`: the flags of its config, and those of one session."""

from pathlib import Path
from typing import Annotated

import typer

from music.cli import AsJson, Reading, Requests, with_flags
from music.errors import InvalidInputError
from music_agents.config import SimulationConfig

__all__ = ["Out", "RetryFailed", "simulate"]

SCALE = "Scale"
Out = Annotated[Path, typer.Option(help="Directory of the run; the same command resumes it.")]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Try the pairs that failed again.", rich_help_panel=SCALE)
]


@with_flags
def simulate(
    seeds: Annotated[
        str, typer.Argument(help="A file, folder or hub id of preference pairs, prompts or chats; or the word sandbox.")
    ],
    out: Out,
    config: SimulationConfig,
    requests: Requests,
    reading: Reading,
    retry_failed: RetryFailed = False,
    processes: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Worker processes; with --ray, workers in the cluster (by default one for each CPU).",
            rich_help_panel=SCALE,
        ),
    ] = None,
    ray: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS", help="A Ray cluster to spread over: auto, local or its address.", rich_help_panel=SCALE
        ),
    ] = "",
    check: Annotated[
        bool, typer.Option("--check", help="Measure on a few pairs what these models can do, and stop.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the first pair's prompts, calls and cost; send nothing.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Simulate contrastive multi-turn pairs.

    Example: music simulate pairs.parquet --out runs/a --num-pairs 200 --assistant m@http://127.0.0.1:8000/v1
    """
    from music_agents.cli.execute import check_strategy, conclude, execute, show_dry_run

    config = config.model_copy(update={"seeds": seeds, **dict(requests), **dict(reading)})
    config.endpoints()  # raises before anything is read if an endpoint is missing
    if dry_run:
        show_dry_run(config, as_json=json)
    elif check:
        check_strategy(config, as_json=json)
    else:
        if ray and config.cache is not None:
            raise InvalidInputError(
                "--cache: expected a run on one machine, got --ray: nodes cannot share the file; leave --cache out"
            )
        report = execute(config, out, retry_failed=retry_failed, processes=processes, ray=ray, as_json=json)
        conclude(report, out, as_json=json)
