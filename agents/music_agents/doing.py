"""A simulation done for the command line: in this process or by workers, with its progress shown."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import typer
from rich.markup import escape

from music.cli import console, emit, run_async
from music.errors import InvalidInputError
from music.llm.spending.records import Spending
from music.user_code import user_faults
from music_agents.cast_list import cast_as_json, describe_cast
from music_agents.failures import RoleFailedError
from music_agents.progress import RunProgress, StopReason, stop_on_signals
from music_agents.progress.display import show_progress
from music_agents.run import RunReport, RunStatus, SimulationJob
from music_agents.run.report import drop_warnings, reply_warnings
from music_agents.scaleout import ProcessCrew, is_shared, simulate_in_shares
from music_agents.seeds import Seed, load_seeds

if TYPE_CHECKING:
    from music_agents.preflight import Preflight
    from music_agents.scaleout.cluster import RayCrew

__all__ = ["check_job", "conclude", "describe", "do_job", "rehearse_job"]

INTERRUPTED = 130
STOPPED = 3


def do_job(
    job: SimulationJob, out: Path, *, retry_failed: bool, processes: int | None, ray: str, as_json: bool
) -> RunReport:
    """Do the job here or with workers; Ctrl-C asks the run to stop, a second one cuts it short."""
    if ray and job.cache is not None:
        raise InvalidInputError(
            "--cache: expected a run on one machine, got --ray: nodes cannot share the file; leave --cache out"
        )
    with user_faults():
        seeds = _begin(job, as_json)
        if ray:
            from music_agents.scaleout.cluster import RayCrew

            return run_async(_run_with(RayCrew(ray, processes), job, out.absolute(), retry_failed, as_json))
        if is_shared(out) or (processes or 1) > 1:
            return run_async(_run_with(ProcessCrew(processes or 1), job, out.absolute(), retry_failed, as_json))
        return run_async(_run_here(job, out, seeds, retry_failed, as_json))


def rehearse_job(job: SimulationJob, *, as_json: bool) -> None:
    """Print what the job would ask and cost."""
    from music_agents.rehearsal import rehearse

    with user_faults():
        rehearsal = run_async(rehearse(job, _begin(job, as_json)))
    emit(rehearsal.model_dump(mode="json"), as_json, text=escape(rehearsal.describe()))


def check_job(job: SimulationJob, *, as_json: bool) -> None:
    """Measure what the models can do; a strategy that cannot work ends the command with its exit code."""
    from music_agents.preflight import check_models

    progress, display = job.progress(), partial(show_progress, console=console, as_json=as_json)

    async def check() -> "Preflight":
        with stop_on_signals(progress):
            return await check_models(job, seeds, progress, display)

    with user_faults():
        seeds = _begin(job, as_json)
        try:
            verdict = run_async(check())
        except RoleFailedError as error:  # nothing else lets one through
            console.print(f"stopped: {progress.stop_detail}", soft_wrap=True, markup=False)
            raise typer.Exit(INTERRUPTED if progress.stop_reason is StopReason.USER else STOPPED) from error
    emit(verdict.model_dump(mode="json"), as_json, text=escape(verdict.describe()))
    if not verdict.can_work:
        raise typer.Exit(STOPPED)


def _begin(job: SimulationJob, as_json: bool) -> Sequence[Seed]:
    """Read the seeds, and show them with the cast."""
    found = load_seeds(job.seeds, job.format, job.strict, job.split, job.consecutive)
    if as_json:
        print(orjson.dumps(cast_as_json(job, found.summary)).decode(), file=console.file, flush=True)
    else:
        console.print(describe_cast(job, found.summary), markup=False, highlight=False, soft_wrap=True)
    return found.seeds


async def _run_here(
    job: SimulationJob, out: Path, seeds: Sequence[Seed], retry_failed: bool, as_json: bool
) -> RunReport:
    """Do the job in this process."""
    progress, display = job.progress(), partial(show_progress, console=console, as_json=as_json)
    with stop_on_signals(progress):
        report = await job.run(out, seeds, progress, retry_failed=retry_failed, display=display, probe=True)
    _say_if_complete(progress, as_json)
    return report


async def _run_with(
    crew: "ProcessCrew | RayCrew", job: SimulationJob, out: Path, retry_failed: bool, as_json: bool
) -> RunReport:
    """Do the job with workers."""
    progress, display = RunProgress(), partial(show_progress, console=console, as_json=as_json)
    async with crew:
        with stop_on_signals(progress):  # in here, as Ray takes SIGTERM for itself when it starts
            report = await simulate_in_shares(
                job.located(), out, crew, progress, retry_failed=retry_failed, probe=True, display=display
            )
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
        told = f"stopped at {report.num_pairs} of {report.num_wanted} pairs ({report.detail}); to resume, {how}"
        console.print(told, soft_wrap=True, markup=False)
    raise typer.Exit(INTERRUPTED if report.status is RunStatus.INTERRUPTED else STOPPED)


def _extra_spending(spending: Spending) -> Iterator[str]:
    """Report what was paid for without a reply, replies of unknown size, and replies that were not paid for."""
    if num := spending.sum("num_failed_tries"):
        num_estimated, tokens = spending.sum("num_estimated"), spending.sum("estimated_tokens")
        guess = f", {num_estimated} of them by estimate ({tokens} tokens)" if num_estimated else ""
        yield f"among these tokens: {num} failed tries that are paid for{guess}"
    if num := spending.sum("num_uncounted"):
        yield f"not among these tokens: {num} replies for which the endpoint reported no usage"
    if num := spending.sum("num_reused"):
        yield f"from the cache, not paid for: {num} replies, {spending.sum('reused_tokens')} tokens"


def describe(out: Path, report: RunReport) -> str:
    """Say what a run came to."""
    failures = ", ".join(f"{reason} {num}" for reason, num in report.failures.items()) or "none"
    spending = report.spending
    cost = f", {spending.cost:.2f} USD" if spending.cost else ""
    lines = [
        f"{report.status}: {report.num_pairs} of {report.num_wanted} pairs in {out}; dropped pairs: {failures}",
        f"{spending.num_calls} calls, {spending.num_tokens} tokens{cost}, {report.wall_seconds:.1f} s",
        *_extra_spending(spending),
    ]
    if report.diagnostics is not None:
        lines.append(report.diagnostics.describe())
    lines += [f"warning: {warning}" for warning in (*drop_warnings(report), *reply_warnings(report))]
    return "\n".join(lines)
