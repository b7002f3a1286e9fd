"""`music sandbox`: serve the sandbox, and write data from it."""

from pathlib import Path
from typing import Annotated

import typer

from music.cli import AsJson, emit, with_flags
from music.sandbox.server.config import ServerConfig

__all__ = ["app"]

Out = Annotated[Path, typer.Option(metavar="FILE.jsonl", help="File to write.")]
Turns = Annotated[int, typer.Option(min=2, help="Assistant turns of each conversation.")]
Seed = Annotated[int, typer.Option(help="Seed of the conversations.")]

app = typer.Typer(no_args_is_help=True, help="The embedded dialogue world: no key, no GPU, no download.")


@app.command(
    epilog="Example: music sandbox serve --port 8000 --latency lognormal:200:0.5 --faults error=0.01,reset=0.01"
)
@with_flags
def serve(
    config: ServerConfig, with_parent: Annotated[bool, typer.Option("--with-parent", hidden=True)] = False
) -> None:
    """Serve the sandbox over OpenAI-compatible HTTP; the first line of output is the base URL.

    The model name of a request chooses the skill: perfect, good, fair or weak. Users have memory if +memory
    comes after it, as in fair+memory.
    """
    from music.sandbox.server import serve

    serve(config, with_parent=with_parent)


@app.command(epilog="Example: music sandbox defects --out defects.jsonl")
def defects(
    out: Out,
    num: Annotated[int, typer.Option(min=1, help="Pairs of each kind of defect in each turn.")] = 50,
    turns: Turns = 5,
    seed: Seed = 0,
    memory: Annotated[
        bool,
        typer.Option("--memory", help="Add contradictions, repeated errors and lost steps, from users with memory."),
    ] = False,
    json: AsJson = False,
) -> None:
    """Write pairs that are equal except for one error in one assistant turn, for `music evaluate defects`."""
    from music.preferences import write_rows
    from music.sandbox.world.defects import defect_rows

    emit({"out": out, "num_pairs": write_rows(defect_rows(num, turns, seed, memory=memory), out)}, json)


@app.command(epilog="Example: music sandbox turn-labels --out turns.jsonl")
def turn_labels(
    out: Out,
    num: Annotated[int, typer.Option(min=1, help="Conversations.")] = 400,
    turns: Turns = 5,
    seed: Seed = 0,
    json: AsJson = False,
) -> None:
    """Write conversations with the oracle's grade of every assistant turn, for `music evaluate turn_labels`."""
    from music.preferences import write_rows
    from music.sandbox.world.seeds import turn_label_rows

    emit({"out": out, "num_conversations": write_rows(turn_label_rows(num, turns, seed), out)}, json)


if __name__ == "__main__":
    from music.errors import MusicError

    try:
        app()
    except (MusicError, ValueError) as error:
        raise SystemExit(f"error: {error}") from None
