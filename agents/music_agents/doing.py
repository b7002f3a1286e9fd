"""A simulation done for the command line: in this process or by workers, with its progress shown."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from music.cli import console, emit, read_pairs, run_async
from music.errors import InvalidInputError
from music.pairs import PreferencePair
from music_agents.progress import RunProgress, stop_on_signals
from music_agents.progress.display import show_progress
from music_agents.run import RunReport, RunStatus, SimulationJob
from music_agents.run.job import SANDBOX, without_tools
from music_agents.scaleout import ProcessCrew, is_shared, simulate_in_shares

if TYPE_CHECKING:
    from music_agents.scaleout.cluster import RayCrew

__all__ = ["conclude", "describe", "do_job"]

INTERRUPTED = 130
STOPPED = 3


def do_job(
    job: SimulationJob, out: Path, *, retry_failed: bool, processes: int | None, ray: str, as_json: bool
) -> RunReport:
    """Do the job here or with workers; Ctrl-C asks the run to stop, a second one cuts it short."""
    pairs = job.read_seeds() if job.seeds == SANDBOX else _read(job)
    if ray:
        from music_agents.scaleout.cluster import RayCrew

        return run_async(_run_with(RayCrew(ray, processes), job, out.absolute(), retry_failed, as_json))
    if is_shared(out) or (processes or 1) > 1:
        return run_async(_run_with(ProcessCrew(processes or 1), job, out.absolute(), retry_failed, as_json))
    return run_async(_run_here(job, out, pairs, retry_failed, as_json))


def _read(job: SimulationJob) -> list[PreferencePair]:
    """Read the seeds of a file, and report what was left out.

    Raises:
        InvalidInputError: The file cannot be read, or holds no conversation to start from.
    """
    read = read_pairs(job.seeds, job.format, job.strict, split=job.split, consecutive=job.consecutive.value)
    pairs = without_tools(read.pairs)
    if num := len(read.pairs) - len(pairs):
        console.print(f"{num} pairs with tool messages left out: simulated players call no tools", soft_wrap=True)
    if not pairs:
        raise InvalidInputError(f"{job.seeds}: expected a conversation without tool messages, got none")
    return pairs


async def _run_here(
    job: SimulationJob, out: Path, pairs: list[PreferencePair], retry_failed: bool, as_json: bool
) -> RunReport:
    """Do the job in this process."""
    progress, display = job.progress(), partial(show_progress, console=console, as_json=as_json)
    with stop_on_signals(progress):
        report = await job.run(out, pairs, progress, retry_failed=retry_failed, display=display)
    _say_if_complete(progress, as_json)
    return report


async def _run_with(
    crew: "ProcessCrew | RayCrew", job: SimulationJob, out: Path, retry_failed: bool, as_json: bool
) -> RunReport:
    """Do the job with workers."""
    from music_agents.progress import RunProgress

    progress, display = RunProgress(), partial(show_progress, console=console, as_json=as_json)
    async with crew:
        with stop_on_signals(progress):  # in here, as Ray takes SIGTERM for itself when it starts
            report = await simulate_in_shares(job, out, crew, progress, retry_failed=retry_failed, display=display)
    _say_if_complete(progress, as_json)
    return report


def _say_if_complete(progress: RunProgress, as_json: bool) -> None:
    """Say so if nothing was left to do."""
    if progress.num_earlier == progress.num_wanted and not as_json:
        console.print("already complete: nothing was left to do")


def conclude(report: RunReport, out: Path, *, as_json: bool) -> None:
    """Print what a run came to; one that is not complete ends the command with its exit code."""
    emit({"out": out, **report.model_dump(mode="json")}, as_json, text=describe(out, report))
    if report.status is RunStatus.COMPLETE:
        return
    if not as_json:
        how = "raise the budget" if report.status is RunStatus.BUDGET else "run the same command"
        told = f"stopped at {report.num_pairs} of {report.num_wanted} pairs ({report.detail}); to go on, {how}"
        console.print(told, soft_wrap=True, markup=False)
    raise typer.Exit(INTERRUPTED if report.status is RunStatus.INTERRUPTED else STOPPED)


def describe(out: Path, report: RunReport) -> str:
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
