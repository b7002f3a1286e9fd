"""`music defects`: pairs with a defect at one turn, from conversations of any kind."""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from music.cli import (
    AsJson,
    ConsecutiveFlag,
    FormatFlag,
    ImportFlag,
    MaxTries,
    Options,
    Patience,
    SplitFlag,
    StrictFlag,
    client_settings,
    console,
    run_async,
)

if TYPE_CHECKING:
    from music_agents.defects.swaps import Transcript
    from music_agents.run import RoleEndpoints, RunReport, SimulationConfig

__all__ = ["defects"]

Endpoint = typer.Option(metavar="E", help="MODEL@BASE_URL (replicas after commas), local:PATH, or sandbox.")


def defects(
    seeds: Annotated[str, typer.Argument(help="Conversations (rows of {messages}), or preference pairs.")],
    out: Annotated[Path, typer.Option(help="Directory of the run; the same command resumes it.")],
    contrast: Annotated[str, Endpoint],
    assistant: Annotated[
        str,
        typer.Option(metavar="E", help="Answers for contrasts that need it; by default the contrast's endpoint."),
    ] = "",
    same_author: Annotated[
        bool, typer.Option("--same-author", help="Let the assistant answer the turn of the chosen side, too.")
    ] = False,
    weaker: Annotated[str, typer.Option(metavar="E", help="Answers for the contrast weaker_model.")] = "",
    judge: Annotated[str, typer.Option(metavar="E", help="Keeps only pairs whose chosen side it finds better.")] = "",
    num_pairs: Annotated[int, typer.Option(min=1, help="Pairs wanted.")] = 200,
    strategy: Annotated[
        str, typer.Option(help="A contrast, or a mixture by weight: instruction=3,drop_constraint=1.")
    ] = "instruction,drop_constraint",
    contrast_format: Annotated[
        Literal["tags", "json"], typer.Option(help="Format that contrasts are asked for.")
    ] = "tags",
    contrast_prompt: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A template of your own for the one-call contrasts.")
    ] = None,
    imports: ImportFlag = None,
    gates: Annotated[bool, typer.Option(help="Drop pairs whose replies are unusable.")] = True,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything that is drawn.")] = 0,
    temperature: Annotated[float | None, typer.Option(min=0.0, help="Left to the endpoint by default.")] = None,
    max_reply_tokens: Annotated[int | None, typer.Option(min=1, help="Bound on each reply.")] = None,
    max_in_flight: Annotated[int, typer.Option(min=1, help="Pairs, and so calls, in flight.")] = 64,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for one try.")] = 300.0,
    options: Options = None,
    max_tries: MaxTries = None,
    patience: Patience = None,
    max_cost: Annotated[float | None, typer.Option(min=0.0, help="USD at which the run stops.")] = None,
    max_total_tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens, of prompts and replies, at which the run stops.")
    ] = None,
    prices: Annotated[
        list[str] | None,
        typer.Option(
            "--price", metavar="MODEL=PROMPT:COMPLETION[:CACHED]", help="USD per million tokens; may be repeated."
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Replies that runs share: what one has paid for is free to the next."),
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try the pairs that failed again.")] = False,
    format: FormatFlag = None,
    split: SplitFlag = None,
    consecutive: ConsecutiveFlag = "refuse",
    strict: StrictFlag = False,
    json: AsJson = False,
) -> None:
    """Swap a contrast into one turn of conversations, for `music evaluate defects`.

    Example: music defects dialogues.jsonl --out runs/defects --contrast gemma-2-9b-it@http://127.0.0.1:8000/v1
    """
    from music.prompts import ContrastFormat
    from music.user_code import digest_code, user_faults
    from music_agents.contrasts import parse_mix
    from music_agents.defects.swaps import read_transcripts
    from music_agents.execute import conclude
    from music_agents.run import OwnPrompt, RoleEndpoints, SimulationConfig, read_options

    code = digest_code(imports or ())
    unplayed = [role for role, endpoint in (("weaker", weaker), ("judge", judge)) if not endpoint]
    by_role = read_options(options, temperature, max_reply_tokens, unplayed=unplayed)
    endpoints = RoleEndpoints(
        user="",
        assistant=assistant or contrast,
        contrast=contrast,
        weaker=weaker,
        judge=judge,
        client=client_settings(max_tries, patience, timeout=timeout),
        connections=by_role.connections,
    )
    config = SimulationConfig(
        num_pairs=num_pairs,
        strategy=parse_mix(strategy),
        contrast_format=ContrastFormat(contrast_format),
        contrast_prompt=OwnPrompt.read(contrast_prompt) if contrast_prompt else None,
        gates=gates,
        seed=seed,
        temperature=by_role.temperature,
        max_reply_tokens=by_role.max_reply_tokens,
        sampling=by_role.sampling,
        max_in_flight=max_in_flight,
        max_cost=max_cost,
        max_total_tokens=max_total_tokens,
        prices=tuple(prices or ()),
    )
    transcripts = read_transcripts(seeds, format, strict, split=split, consecutive=consecutive)
    settings = {"same_author": same_author, "retry_failed": retry_failed, "imports": code}
    with user_faults():
        report = run_async(_make(out, transcripts, endpoints, config, cache, settings, as_json=json))
    conclude(report, out, as_json=json)


async def _make(
    out: Path,
    transcripts: "list[Transcript]",
    endpoints: "RoleEndpoints",
    config: "SimulationConfig",
    cache_path: Path | None,
    settings: dict[str, Any],
    *,
    as_json: bool,
) -> "RunReport":
    """Make the pairs with the progress shown; Ctrl-C asks the run to stop."""
    from music.llm.cache import ReplyCache
    from music_agents.defects.run import make_defects
    from music_agents.progress import stop_on_signals
    from music_agents.progress.display import show_progress
    from music_agents.progress.events import ProgressWatch
    from music_agents.run.job import open_progress

    progress = open_progress(config)
    async with AsyncExitStack() as stack:
        models = await stack.enter_async_context(endpoints.open())
        cache = await stack.enter_async_context(ReplyCache(cache_path)) if cache_path else None
        stack.enter_context(stop_on_signals(progress))
        watch = ProgressWatch(progress, models.endpoints())
        await stack.enter_async_context(show_progress(watch, console, as_json=as_json))
        return await make_defects(out, transcripts, models, config, progress, cache=cache, probe=True, **settings)
