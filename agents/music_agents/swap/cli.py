"""`music swap`: contrastive pairs from conversations that you have."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from music.cli import AsJson, Reading, console, counted, run_async, with_flags
from music.errors import InvalidInputError
from music_agents.swap.config import SwapConfig

if TYPE_CHECKING:
    from music_agents.defects.swaps import Transcript
    from music_agents.run import RunReport

__all__ = ["swap"]


@with_flags
def swap(
    source: Annotated[str, typer.Argument(help="Conversations (rows of {messages}), or preference pairs.")],
    out: Annotated[Path, typer.Option(help="Directory of the pairs.")],
    config: SwapConfig,
    reading: Reading,
    json: AsJson = False,
) -> None:
    """Make pairs from conversations alone: the rejected side has real replies to similar requests.

    Example: music swap dialogues.jsonl --out runs/swap --eval-fraction 0.1
    """
    from music_agents.cli.execute import conclude
    from music_agents.contrasts import Schedule
    from music_agents.defects.swaps import read_transcripts
    from music_agents.swap.corpus import hold_out, select

    found, summary = read_transcripts(source, **dict(reading))
    transcripts, left_out = select(found, Schedule.parse(config.schedule), source)
    for line in filter(None, (summary, left_out)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if config.eval_fraction:
        transcripts, held_out = hold_out(transcripts, config.eval_fraction, config.seed, source)
        report = _make(config, out / "eval", held_out, source)
        console.print(f"eval: {report.num_pairs:,} pairs of {report.num_wanted:,} conversations in {out / 'eval'}")
    conclude(_make(config, out, transcripts, source), out, as_json=json)


def _make(config: SwapConfig, out: Path, transcripts: "list[Transcript]", source: str) -> "RunReport":
    """Make the pairs of some conversations with the progress shown."""
    from music_agents.run.session import FAILURES
    from music_agents.swap.run import make_swaps

    with counted("conversations", len(transcripts)) as advance:
        report = run_async(make_swaps(config, out, transcripts, advance=advance))
    if not report.num_pairs:
        reasons = ", ".join(f"{reason} {num}" for reason, num in report.failures.items())
        raise InvalidInputError(
            f"{source}: expected a pair of at least one of {len(transcripts)} conversations, got none ({reasons}; each "
            f"is named in {out / FAILURES}): give more conversations, or widen --min-similarity and --max-similarity"
        )
    return report
