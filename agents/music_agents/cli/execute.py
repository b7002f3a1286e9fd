"""The actions of `music simulate`: a run in this process or with workers, a dry run, a check of the models."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import orjson
import typer
from rich.markup import escape

from music.cli import console, emit, run_async
from music.user_code import user_faults
from music_agents.cli.texts import describe_report, describe_start, start_event
from music_agents.config import SimulationConfig
from music_agents.failures import RoleFailedError
from music_agents.model_check import ModelCheck
from music_agents.progress import RunProgress, StopCause, stop_on_signals
from music_agents.progress.display import show_progress
from music_agents.run import RunReport, RunStatus, run_simulation
from music_agents.run.roles import make_progress
from music_agents.scaleout import ProcessWorkerPool, WorkerPool, is_partitioned, run_distributed
from music_agents.seeds import Seed, load_seeds

__all__ = ["check_strategy", "conclude", "execute", "show_dry_run"]

INTERRUPTED = 130
STOPPED = 3


def execute(
    config: SimulationConfig, out: Path, *, retry_failed: bool, processes: int | None, ray: str, as_json: bool
) -> RunReport:
    """Simulate in this process or with workers; Ctrl-C stops the run cleanly, a second one cancels it."""
    with user_faults():
        seeds = _begin(config, as_json)
        if ray:
            from music_agents.scaleout.cluster import RayWorkerPool

            cluster = RayWorkerPool(ray, processes)
            return run_async(_with_workers(cluster, config, out.absolute(), retry_failed, as_json))
        if is_partitioned(out) or (processes or 1) > 1:
            pool = ProcessWorkerPool(processes or 1)
            return run_async(_with_workers(pool, config, out.absolute(), retry_failed, as_json))
        return run_async(_here(config, out, seeds, retry_failed, as_json))


def show_dry_run(config: SimulationConfig, *, as_json: bool) -> None:
    """Print the prompts, the calls and the cost of a run."""
    from music_agents.dry_run import dry_run

    with user_faults():
        result = run_async(dry_run(config, _begin(config, as_json)))
    emit(result.model_dump(mode="json"), as_json, text=escape(result.describe()))


def check_strategy(config: SimulationConfig, *, as_json: bool) -> None:
    """Check the models; exit with code 3 if the strategy cannot work."""
    from music_agents.model_check import check_models

    progress, display = make_progress(config), partial(show_progress, console=console, as_json=as_json)

    async def check() -> ModelCheck:
        with stop_on_signals(progress):
            return await check_models(config, seeds, progress, display)

    with user_faults():
        seeds = _begin(config, as_json)
        try:
            verdict = run_async(check())
        except RoleFailedError as error:  # the check was stopped
            console.print(f"stopped: {progress.stop_detail}", soft_wrap=True, markup=False)
            raise typer.Exit(INTERRUPTED if progress.stop_reason is StopCause.USER else STOPPED) from error
    emit(verdict.model_dump(mode="json"), as_json, text=escape(verdict.describe()))
    if not verdict.can_work:
        raise typer.Exit(STOPPED)


def conclude(report: RunReport, out: Path, *, as_json: bool) -> None:
    """Print the result of a run; exit with its code if it is not complete."""
    emit({"out": out, **report.model_dump(mode="json")}, as_json, text=describe_report(out, report))
    if report.status is RunStatus.COMPLETE:
        return
    if not as_json:
        how = "raise the budget" if report.status is RunStatus.BUDGET else "run the same command"
        end = f"stopped at {report.num_pairs} of {report.num_wanted} pairs ({report.detail}); to resume, {how}"
        console.print(end, soft_wrap=True, markup=False)
    raise typer.Exit(INTERRUPTED if report.status is RunStatus.INTERRUPTED else STOPPED)


def _begin(config: SimulationConfig, as_json: bool) -> Sequence[Seed]:
    """Load the seeds, and print a summary of them and of the models."""
    found = load_seeds(*config.seed_source())
    if as_json:
        print(orjson.dumps(start_event(config, found.summary)).decode(), file=console.file, flush=True)
    else:
        console.print(describe_start(config, found.summary), markup=False, highlight=False, soft_wrap=True)
    return found.seeds


async def _here(
    config: SimulationConfig, out: Path, seeds: Sequence[Seed], retry_failed: bool, as_json: bool
) -> RunReport:
    """Simulate in this process."""
    progress, display = make_progress(config), partial(show_progress, console=console, as_json=as_json)
    with stop_on_signals(progress):
        report = await run_simulation(
            config, out, seeds=seeds, progress=progress, retry_failed=retry_failed, probe=True, display=display
        )
    _note_if_complete(progress, as_json)
    return report


async def _with_workers(
    pool: WorkerPool, config: SimulationConfig, out: Path, retry_failed: bool, as_json: bool
) -> RunReport:
    """Simulate with workers."""
    progress, display = RunProgress(), partial(show_progress, console=console, as_json=as_json)
    async with pool:
        with stop_on_signals(progress):  # inside, as Ray installs a SIGTERM handler when it starts
            report = await run_distributed(
                config.located(), out, pool, progress, retry_failed=retry_failed, probe=True, display=display
            )
    _note_if_complete(progress, as_json)
    return report


def _note_if_complete(progress: RunProgress, as_json: bool) -> None:
    if progress.num_earlier == progress.num_wanted and not as_json:
        console.print("already complete: nothing was left to do")
