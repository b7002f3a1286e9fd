"""`music simulate`: its flags, as a `SimulationJob`."""

from pathlib import Path
from typing import Annotated, Literal

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
)

__all__ = ["simulate"]

ENDPOINTS, OUTPUT, PACE, SCALE = "Who plays", "What is simulated", "Pace and cost", "Scale"


def simulate(
    seeds: Annotated[
        str, typer.Argument(help="A file, folder or hub id of preference pairs, prompts or chats; or the word sandbox.")
    ],
    out: Annotated[Path, typer.Option(help="Directory of the run; the same command resumes it.")],
    num_pairs: Annotated[int, typer.Option(min=1, help="Pairs wanted.")] = 100,
    num_turns: Annotated[int, typer.Option("--turns", min=1, help="Simulated turns of each side.")] = 5,
    assistant: Annotated[
        str,
        typer.Option(
            metavar="E",
            help="Answers: MODEL@BASE_URL (replicas after commas), local:PATH, or sandbox.",
            rich_help_panel=ENDPOINTS,
        ),
    ] = "",
    user: Annotated[
        str,
        typer.Option(
            metavar="E", help="Plays the user; by default the assistant's endpoint.", rich_help_panel=ENDPOINTS
        ),
    ] = "",
    contrast: Annotated[
        str,
        typer.Option(
            metavar="E", help="Answers on the rejected side; by default the assistant's.", rich_help_panel=ENDPOINTS
        ),
    ] = "",
    weaker: Annotated[
        str, typer.Option(metavar="E", help="Answers for the contrast weaker_model.", rich_help_panel=ENDPOINTS)
    ] = "",
    judge: Annotated[
        str,
        typer.Option(
            metavar="E", help="Keeps only pairs whose chosen side it finds better.", rich_help_panel=ENDPOINTS
        ),
    ] = "",
    judge_share: Annotated[
        float,
        typer.Option(min=1e-6, max=1.0, help="Share of pairs that it judges, above 0.", rich_help_panel=ENDPOINTS),
    ] = 1.0,
    strategy: Annotated[
        str,
        typer.Option(
            help="A contrast, or a mixture by weight: instruction=3,forget(turns=2)=1. The paper's is `instruction`.",
            rich_help_panel=OUTPUT,
        ),
    ] = "instruction,drop_constraint",
    schedule: Annotated[
        str,
        typer.Option(help="Contrasted turns: all, first, last, turns:1,3 or probability:0.5.", rich_help_panel=OUTPUT),
    ] = "all",
    contrast_format: Annotated[
        Literal["tags", "json"],
        typer.Option(help="Format that contrasts are asked for.", rich_help_panel=OUTPUT),
    ] = "tags",
    contrast_prompt: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A template of your own for the one-call contrasts.", rich_help_panel=OUTPUT),
    ] = None,
    user_prompt: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A template of your own for the user.", rich_help_panel=OUTPUT),
    ] = None,
    shared_script: Annotated[
        bool, typer.Option(help="Let the users of both sides say the same.", rich_help_panel=OUTPUT)
    ] = False,
    personas: Annotated[
        str,
        typer.Option(
            help="Who the users are: FILE, column:NAME, sampler, sampler:FILE.toml or sandbox.", rich_help_panel=OUTPUT
        ),
    ] = "",
    gates: Annotated[
        bool, typer.Option(help="Drop unusable pairs, and ask again for unusable user turns.", rich_help_panel=OUTPUT)
    ] = True,
    refusals: Annotated[
        Literal["rejected_alone", "one_sided", "any"],
        typer.Option(help="Refusals that drop a pair.", rich_help_panel=OUTPUT),
    ] = "rejected_alone",
    graph: Annotated[
        str, typer.Option(help="A pair graph of your own: FILE.py:FUNCTION or MODULE:FUNCTION.", rich_help_panel=OUTPUT)
    ] = "",
    imports: ImportFlag = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything that is drawn.", rich_help_panel=OUTPUT)] = 0,
    temperature: Annotated[
        float | None, typer.Option(min=0.0, help="Left to the endpoint by default.", rich_help_panel=OUTPUT)
    ] = None,
    max_reply_tokens: Annotated[
        int | None, typer.Option(min=1, help="Bound on each reply; left to the endpoint.", rich_help_panel=OUTPUT)
    ] = None,
    max_in_flight: Annotated[
        int, typer.Option(min=1, help="Pairs, and so calls, in flight.", rich_help_panel=PACE)
    ] = 64,
    requests_per_minute: Annotated[
        float | None,
        typer.Option(min=1.0, help="Per endpoint; learnt from headers and 429s.", rich_help_panel=PACE),
    ] = None,
    tokens_per_minute: Annotated[
        float | None, typer.Option(min=1.0, help="Per endpoint; likewise.", rich_help_panel=PACE)
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for one try.", rich_help_panel=PACE)] = 300.0,
    options: Options = None,
    max_tries: MaxTries = None,
    patience: Patience = None,
    max_cost: Annotated[
        float | None, typer.Option(min=0.0, help="USD at which the run stops.", rich_help_panel=PACE)
    ] = None,
    max_total_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Tokens, of prompts and replies, at which the run stops.", rich_help_panel=PACE),
    ] = None,
    prices: Annotated[
        list[str] | None,
        typer.Option(
            "--price",
            metavar="MODEL=PROMPT:COMPLETION[:CACHED]",
            help="USD per million tokens; may be repeated.",
            rich_help_panel=PACE,
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Replies that runs share: what one has paid for is free to the next.",
            rich_help_panel=PACE,
        ),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try the pairs that failed again.", rich_help_panel=SCALE)
    ] = False,
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
    format: FormatFlag = None,
    split: SplitFlag = None,
    consecutive: ConsecutiveFlag = "refuse",
    strict: StrictFlag = False,
    json: AsJson = False,
) -> None:
    """Simulate contrastive multi-turn pairs.

    Example: music simulate pairs.parquet --out runs/a --num-pairs 200 --assistant m@http://127.0.0.1:8000/v1
    """
    from music.llm.pacing import PacingSettings
    from music.preferences import Consecutive
    from music.prompts import ContrastFormat
    from music.user_code import import_code
    from music_agents.contrasts import parse_mix
    from music_agents.execute import check_job, conclude, do_job, fill_roles, rehearse_job
    from music_agents.quality import RefusalRule
    from music_agents.run import OwnPrompt, RoleEndpoints, SimulationConfig, SimulationJob, load_graph, read_options

    for code in imports or ():
        import_code(code)  # it may register contrasts, and so may the graph's file
    if graph:
        load_graph(graph)
    unplayed = [role for role, endpoint in (("weaker", weaker), ("judge", judge)) if not endpoint]
    by_role = read_options(options, temperature, max_reply_tokens, unplayed=unplayed)
    pacing = PacingSettings(requests_per_minute=requests_per_minute, tokens_per_minute=tokens_per_minute)
    job = SimulationJob(
        seeds=seeds,
        format=format,
        split=split,
        consecutive=Consecutive(consecutive),
        strict=strict,
        endpoints=RoleEndpoints(
            **fill_roles(seeds, user, assistant, contrast),
            weaker=weaker,
            judge=judge,
            client=client_settings(max_tries, patience, timeout=timeout, pacing=pacing),
            connections=by_role.connections,
        ),
        config=SimulationConfig(
            num_pairs=num_pairs,
            num_turns=num_turns,
            strategy=parse_mix(strategy),
            schedule=schedule,
            contrast_format=ContrastFormat(contrast_format),
            contrast_prompt=OwnPrompt.read(contrast_prompt) if contrast_prompt else None,
            user_prompt=OwnPrompt.read(user_prompt) if user_prompt else None,
            shared_script=shared_script,
            gates=gates,
            refusals=RefusalRule(refusals),
            judge_share=judge_share,
            seed=seed,
            max_in_flight=max_in_flight,
            temperature=by_role.temperature,
            max_reply_tokens=by_role.max_reply_tokens,
            sampling=by_role.sampling,
            max_cost=max_cost,
            max_total_tokens=max_total_tokens,
            prices=tuple(prices or ()),
        ),
        personas=personas,
        graph=graph,
        cache=cache,
        imports=tuple(imports or ()),
    )
    if dry_run:
        rehearse_job(job, as_json=json)
        return
    if check:
        check_job(job, as_json=json)
        return
    report = do_job(job, out, retry_failed=retry_failed, processes=processes, ray=ray, as_json=json)
    conclude(report, out, as_json=json)
