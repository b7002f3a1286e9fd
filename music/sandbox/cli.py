"""`music sandbox`: the sandbox from the command line."""

from pathlib import Path
from typing import Annotated

import typer

from music.cli import AsJson, emit

__all__ = ["app"]

Out = Annotated[Path, typer.Option(metavar="FILE.jsonl", help="File to write.")]
Turns = Annotated[int, typer.Option(min=2, help="Assistant turns of each conversation.")]
Seed = Annotated[int, typer.Option(help="Draws the conversations.")]

app = typer.Typer(no_args_is_help=True, help="The embedded dialogue world: no key, no GPU, no download.")


@app.command(
    epilog="Example: music sandbox serve --port 8000 --latency lognormal:200:0.5 --faults error=0.01,reset=0.01"
)
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 0,
    latency: Annotated[
        str,
        typer.Option(
            help="Milliseconds: 200, uniform:LOW:HIGH, lognormal:MEDIAN:SIGMA or exponential:MEAN.", metavar="LATENCY"
        ),
    ] = "0",
    faults: Annotated[
        str,
        typer.Option(
            help="Shares of requests that go wrong, as error=0.05,hang=0.02; of error, reset, hang, truncate, "
            "invalid_json, no_choices, wrong_types, huge, nul, surrogate, control_tokens.",
            metavar="FAULTS",
        ),
    ] = "",
    rate_429: Annotated[
        float, typer.Option("--rate-429", min=0, max=1, help="Share of requests answered with a 429.")
    ] = 0.0,
    retry_after: Annotated[float, typer.Option(min=0, help="Seconds that such a 429 asks to wait.")] = 1.0,
    hang_seconds: Annotated[float, typer.Option(min=0, help="Seconds until a hanging request is answered.")] = 3600.0,
    poison: Annotated[str, typer.Option(help="A request whose last message contains this always gets a 500.")] = "",
    limit: Annotated[float, typer.Option(min=0, help="Requests per second; a 429 beyond. 0 for any number.")] = 0.0,
    limit_headers: Annotated[
        bool, typer.Option("--limit-headers/--no-limit-headers", help="Tell of the limit in x-ratelimit-* headers.")
    ] = True,
    seed: Annotated[int, typer.Option(help="Seed of latency and faults.")] = 0,
    with_parent: Annotated[bool, typer.Option("--with-parent", hidden=True)] = False,
) -> None:
    """Serve the sandbox over HTTP, OpenAI-compatible; the first line printed is the base URL.

    Send requests to MODEL@URL: the model's name chooses the sandbox's skill.
    """
    from music.sandbox import server

    config = server.ServerConfig(
        host=host,
        port=port,
        latency=latency,
        faults=faults,
        rate_429=rate_429,
        retry_after=retry_after,
        hang_seconds=hang_seconds,
        poison=poison,
        limit=limit,
        limit_headers=limit_headers,
        seed=seed,
    )
    server.serve(config, with_parent=with_parent)


@app.command(epilog="Example: music sandbox defects --out defects.jsonl")
def defects(
    out: Out,
    num: Annotated[int, typer.Option(min=1, help="Pairs of each kind of defect in each turn.")] = 50,
    turns: Turns = 5,
    seed: Seed = 0,
    json: AsJson = False,
) -> None:
    """Write pairs that are equal but for one error in one assistant turn, for `music evaluate defects`."""
    from music.preferences import write_rows
    from music.sandbox.world.defects import defect_rows

    emit({"out": out, "num_pairs": write_rows(defect_rows(num, turns, seed), out)}, json)


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
