"""`music simulate`: flags into a `SimulationJob`, and the job's report into words."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from music.cli import AsJson, FormatFlag, StrictFlag, console, emit, read_pairs, run_async

if TYPE_CHECKING:
    from music.pairs import PreferencePair
    from music_agents.progress import RunProgress
    from music_agents.run import RunReport, SimulationJob
    from music_agents.scaleout import ProcessCrew
    from music_agents.scaleout.cluster import RayCrew

__all__ = ["simulate"]

INTERRUPTED = 130
STOPPED = 3
SANDBOX = "sandbox"

ENDPOINTS, OUTPUT, PACE, SCALE = "Who plays", "What is simulated", "Pace and cost", "Scale"

Endpoint = Annotated[
    str,
    typer.Option(
        metavar="E", help="MODEL@BASE_URL (replicas after commas), local:PATH, or sandbox.", rich_help_panel=ENDPOINTS
    ),
]
OptionalEndpoint = Annotated[str, typer.Option(metavar="E", rich_help_panel=ENDPOINTS)]


def simulate(
    seeds: Annotated[str, typer.Argument(help="A preference file, folder or hub id; or the word sandbox.")],
    out: Annotated[Path, typer.Option(help="Directory of the run; the same command goes on where it ended.")],
    num_pairs: Annotated[int, typer.Option(min=1, help="Pairs wanted.")] = 100,
    turns: Annotated[int, typer.Option(min=1, help="Simulated turns of each side.")] = 5,
    user: Endpoint = SANDBOX,
    assistant: Endpoint = SANDBOX,
    contrast: Endpoint = SANDBOX,
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
    ] = "instruction",
    schedule: Annotated[
        str,
        typer.Option(help="Contrasted turns: all, first, last, turns:1,3 or probability:0.5.", rich_help_panel=OUTPUT),
    ] = "all",
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
        bool, typer.Option(help="Drop pairs, and ask again for user turns, that are of no use.", rich_help_panel=OUTPUT)
    ] = True,
    refusals: Annotated[
        Literal["rejected_alone", "one_sided", "any"],
        typer.Option(help="Refusals that drop a pair.", rich_help_panel=OUTPUT),
    ] = "rejected_alone",
    graph: Annotated[
        str, typer.Option(help="A pair graph of your own: FILE.py:FUNCTION or MODULE:FUNCTION.", rich_help_panel=OUTPUT)
    ] = "",
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
    max_cost: Annotated[
        float | None, typer.Option(min=0.0, help="USD at which the run stops.", rich_help_panel=PACE)
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens at which the run stops.", rich_help_panel=PACE)
    ] = None,
    price: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL=PROMPT:COMPLETION", help="USD per million tokens; may be repeated.", rich_help_panel=PACE
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
    format: FormatFlag = None,
    strict: StrictFlag = False,
    json: AsJson = False,
) -> None:
    """Simulate contrastive multi-turn pairs.

    Example: music simulate pairs.parquet --out runs/a --num-pairs 200 --user m@http://127.0.0.1:8000/v1
    """
    from music.llm.openai import ClientSettings
    from music.llm.pacing import PacingSettings
    from music_agents.contrasts import parse_mix
    from music_agents.quality import RefusalRule
    from music_agents.run import RoleEndpoints, RunStatus, SimulationConfig, SimulationJob

    pacing = PacingSettings(requests_per_minute=requests_per_minute, tokens_per_minute=tokens_per_minute)
    job = SimulationJob(
        seeds=seeds,
        format=format,
        strict=strict,
        endpoints=RoleEndpoints(
            user=user,
            assistant=assistant,
            contrast=contrast,
            weaker=weaker,
            judge=judge,
            client=ClientSettings(timeout=timeout, pacing=pacing),
        ),
        config=SimulationConfig(
            num_pairs=num_pairs,
            num_turns=turns,
            strategy=parse_mix(strategy),
            schedule=schedule,
            shared_script=shared_script,
            gates=gates,
            refusals=RefusalRule(refusals),
            judge_share=judge_share,
            seed=seed,
            max_in_flight=max_in_flight,
            temperature=temperature,
            max_reply_tokens=max_reply_tokens,
            max_cost=max_cost,
            max_tokens=max_tokens,
            prices=tuple(price or ()),
        ),
        personas=personas,
        graph=graph,
    )
    report = _run(job, out, retry_failed=retry_failed, processes=processes, ray=ray, as_json=json)
    emit({"out": out, **report.model_dump(mode="json")}, json, text=_summary(out, report))
    if report.status is not RunStatus.COMPLETE:
        how = "raise the budget" if report.status is RunStatus.BUDGET else "run the same command"
        if not json:
            told = f"stopped at {report.num_pairs} of {num_pairs} pairs ({report.detail}); to go on, {how}"
            console.print(told, soft_wrap=True, markup=False)
        raise typer.Exit(INTERRUPTED if report.status is RunStatus.INTERRUPTED else STOPPED)


def _run(
    job: "SimulationJob", out: Path, *, retry_failed: bool, processes: int | None, ray: str, as_json: bool
) -> "RunReport":
    """Do the job here or with workers; Ctrl-C asks the run to stop, a second one cuts it short."""
    from music_agents.scaleout import ProcessCrew, is_shared

    pairs = job.read_seeds() if job.seeds == SANDBOX else list(read_pairs(job.seeds, job.format, job.strict).pairs)
    if ray:
        from music_agents.scaleout.cluster import RayCrew

        return run_async(_run_with(RayCrew(ray, processes), job, out.absolute(), retry_failed, as_json))
    if is_shared(out) or (processes or 1) > 1:
        return run_async(_run_with(ProcessCrew(processes or 1), job, out.absolute(), retry_failed, as_json))
    return run_async(_run_here(job, out, pairs, retry_failed, as_json))


async def _run_here(
    job: "SimulationJob", out: Path, pairs: "list[PreferencePair]", retry_failed: bool, as_json: bool
) -> "RunReport":
    """Do the job in this process."""
    from music_agents.progress import stop_on_signals
    from music_agents.progress.display import show_progress

    progress, display = job.progress(), partial(show_progress, console=console, as_json=as_json)
    with stop_on_signals(progress):
        report = await job.run(out, pairs, progress, retry_failed=retry_failed, display=display)
    _say_if_complete(progress)
    return report


async def _run_with(
    crew: "ProcessCrew | RayCrew", job: "SimulationJob", out: Path, retry_failed: bool, as_json: bool
) -> "RunReport":
    """Do the job with workers."""
    from music_agents.progress import RunProgress, stop_on_signals
    from music_agents.progress.display import show_progress
    from music_agents.scaleout import simulate_in_shares

    progress, display = RunProgress(), partial(show_progress, console=console, as_json=as_json)
    async with crew:
        with stop_on_signals(progress):  # in here, as Ray takes SIGTERM for itself when it starts
            report = await simulate_in_shares(job, out, crew, progress, retry_failed=retry_failed, display=display)
    _say_if_complete(progress)
    return report


def _say_if_complete(progress: "RunProgress") -> None:
    """Say so if nothing was left to do."""
    if progress.num_earlier == progress.num_wanted:
        console.print("already complete: nothing was left to do")


def _summary(out: Path, report: "RunReport") -> str:
    """Say what a run came to."""
    failures = ", ".join(f"{reason} {num}" for reason, num in report.failures.items()) or "none"
    spending = report.spending
    cost = f", {spending.cost:.2f} USD" if spending.cost else ""
    lines = [
        f"{report.status}: {report.num_pairs} of {report.num_wanted} pairs in {out}; dropped pairs: {failures}",
        f"{spending.num_calls} calls, {spending.num_tokens} tokens{cost}, {report.wall_seconds:.1f} s",
    ]
    if report.diagnostics is not None:
        lines.append(report.diagnostics.describe())
    return "\n".join(lines)
