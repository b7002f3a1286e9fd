"""`music simulate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from music.cli import AsJson, FormatFlag, StrictFlag, console, emit, read_pairs, run_async

if TYPE_CHECKING:
    from music.pairs import PreferencePair
    from music_agents.run import RunReport, SimulationConfig

__all__ = ["simulate"]

INTERRUPTED = 130
NUM_SANDBOX_SEEDS = 1000
SANDBOX = "sandbox"

Endpoint = Annotated[str, typer.Option(metavar="E", help="MODEL@BASE_URL, local:PATH_OR_HUB_ID, or sandbox.")]


def simulate(
    seeds: Annotated[str, typer.Argument(help="A preference file, folder or hub id; or the word sandbox.")],
    out: Annotated[Path, typer.Option(help="Directory of the run; the same command goes on where it ended.")],
    num_pairs: Annotated[int, typer.Option(min=1, help="Pairs wanted.")] = 100,
    turns: Annotated[int, typer.Option(min=1, help="Simulated turns of each side.")] = 5,
    user: Endpoint = SANDBOX,
    assistant: Endpoint = SANDBOX,
    contrast: Endpoint = SANDBOX,
    strategy: Annotated[
        str, typer.Option(help="Contrast, or a mixture drawn by weight: instruction=3,drop_constraint=1.")
    ] = "instruction",
    persona: Annotated[str, typer.Option(help="Who the user is, in a sentence.")] = "",
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything that is drawn.")] = 0,
    max_in_flight: Annotated[int, typer.Option(min=1, help="Pairs, and so calls, in flight.")] = 64,
    temperature: Annotated[float | None, typer.Option(min=0.0, help="Left to the endpoint by default.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Left to the endpoint by default.")] = None,
    format: FormatFlag = None,
    strict: StrictFlag = False,
    json: AsJson = False,
) -> None:
    """Simulate contrastive multi-turn pairs.

    Example: music simulate pairs.parquet --out runs/a --num-pairs 200 --user m@http://127.0.0.1:8000/v1
    """
    from music_agents.contrasts import parse_mix
    from music_agents.run import RunStatus, SimulationConfig

    config = SimulationConfig(
        num_pairs=num_pairs,
        num_turns=turns,
        strategy=parse_mix(strategy),
        seed=seed,
        max_in_flight=max_in_flight,
        temperature=temperature,
        max_tokens=max_tokens,
        persona=persona,
    )
    pairs = _read_seeds(seeds, format, strict)
    report = run_async(_simulate(out, pairs, {"user": user, "assistant": assistant, "contrast": contrast}, config))
    emit({"out": out, **report.model_dump(mode="json")}, json, text=_summary(out, report))
    if report.status is RunStatus.INTERRUPTED:
        console.print(f"stopped at {report.num_pairs} of {num_pairs} pairs; the same command goes on from there")
        raise typer.Exit(INTERRUPTED)


def _read_seeds(source: str, format: str | None, strict: bool) -> "list[PreferencePair]":
    """Read the preference pairs to start from, or draw the sandbox's."""
    if source == SANDBOX:
        from music.sandbox.seeds import seed_pairs

        return seed_pairs(NUM_SANDBOX_SEEDS, 0)
    return list(read_pairs(source, format, strict).pairs)


async def _simulate(
    out: Path, pairs: "list[PreferencePair]", endpoints: dict[str, str], config: "SimulationConfig"
) -> "RunReport":
    """Open the models, run, and close them; Ctrl-C asks the run to stop, a second one cuts it short."""
    from contextlib import AsyncExitStack, aclosing

    from music.llm import open_model
    from music_agents.display import show_progress
    from music_agents.progress import RunProgress, stop_on_signals
    from music_agents.run import RoleModels, run_simulation

    progress = RunProgress()
    async with AsyncExitStack() as stack:
        models = {spec: await stack.enter_async_context(aclosing(open_model(spec))) for spec in set(endpoints.values())}
        roles = RoleModels(**{role: models[spec] for role, spec in endpoints.items()})
        stack.enter_context(stop_on_signals(progress))
        await stack.enter_async_context(show_progress(progress, console))
        report = await run_simulation(out, pairs, roles, config, progress)
    if progress.num_earlier == progress.num_wanted:
        console.print("already complete: nothing was left to do")
    return report


def _summary(out: Path, report: "RunReport") -> str:
    """Say in two lines what a run came to."""
    failures = ", ".join(f"{reason} {num}" for reason, num in report.failures.items()) or "none"
    usage = report.usage
    return (
        f"{report.status}: {report.num_pairs} of {report.num_wanted} pairs in {out}; failed pairs: {failures}\n"
        f"{usage.num_calls} calls, {usage.prompt_tokens + usage.completion_tokens} tokens, {report.wall_seconds:.1f} s"
    )
