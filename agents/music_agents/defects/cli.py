"""`music defects`: pairs with a defect at one turn, from conversations of any kind."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from music.cli import AsJson, Reading, Requests, console, run_async, with_flags
from music_agents.cli.commands import Out, RetryFailed
from music_agents.config import DefectsConfig

if TYPE_CHECKING:
    from music_agents.defects.swaps import Transcript
    from music_agents.run import RunReport

__all__ = ["defects"]


@with_flags
def defects(
    seeds: Annotated[str, typer.Argument(help="Conversations (rows of {messages}), or preference pairs.")],
    out: Out,
    config: DefectsConfig,
    requests: Requests,
    reading: Reading,
    retry_failed: RetryFailed = False,
    json: AsJson = False,
) -> None:
    """Swap a contrast into one turn of conversations, for `music evaluate defects`.

    Example: music defects dialogues.jsonl --out runs/defects --contrast gemma-2-9b-it@http://127.0.0.1:8000/v1
    """
    from music.user_code import user_faults
    from music_agents.cli.execute import conclude
    from music_agents.defects.swaps import read_transcripts

    config = config.model_copy(update={**dict(requests), **dict(reading)})
    transcripts, summary = read_transcripts(seeds, **dict(reading))
    console.print(summary, markup=False, highlight=False, soft_wrap=True)
    with user_faults():
        report = run_async(_make(config, out, transcripts, retry_failed=retry_failed, as_json=json))
    conclude(report, out, as_json=json)


async def _make(
    config: DefectsConfig, out: Path, transcripts: "list[Transcript]", *, retry_failed: bool, as_json: bool
) -> "RunReport":
    """Make the pairs with the progress shown; Ctrl-C asks the run to stop."""
    from music_agents.defects.run import make_defects
    from music_agents.progress import stop_on_signals
    from music_agents.progress.display import show_progress
    from music_agents.run.roles import make_progress

    progress = make_progress(config)
    with stop_on_signals(progress):
        return await make_defects(
            config,
            out,
            transcripts,
            progress=progress,
            retry_failed=retry_failed,
            probe=True,
            display=partial(show_progress, console=console, as_json=as_json),
        )
