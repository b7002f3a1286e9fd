"""A simulation done for the command line: in this process or by workers, with its progress shown."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path

import orjson
import typer
from rich.markup import escape

from music.cli import console, emit, run_async
from music.errors import InvalidInputError
from music.llm.endpoints import read_remote, shown
from music.llm.spending.records import Spending
from music.user_code import user_faults
from music_agents.failures import RoleFailedError
from music_agents.model_check import ModelCheck
from music_agents.progress import RunProgress, StopCause, stop_on_signals
from music_agents.progress.display import show_progress
from music_agents.run import RunReport, RunStatus, SimulationConfig, SimulationJob
from music_agents.run.report import drop_warnings, reply_warnings
from music_agents.scaleout import ProcessWorkerPool, WorkerPool, is_partitioned, run_distributed
from music_agents.seeds import SANDBOX, Seed, load_seeds

__all__ = ["cast_as_json", "check_job", "conclude", "describe", "describe_cast", "do_job", "fill_roles", "rehearse_job"]

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
            from music_agents.scaleout.cluster import RayWorkerPool

            return run_async(_run_with(RayWorkerPool(ray, processes), job, out.absolute(), retry_failed, as_json))
        if is_partitioned(out) or (processes or 1) > 1:
            return run_async(_run_with(ProcessWorkerPool(processes or 1), job, out.absolute(), retry_failed, as_json))
        return run_async(_run_here(job, out, seeds, retry_failed, as_json))


def rehearse_job(job: SimulationJob, *, as_json: bool) -> None:
    """Print what the job would ask and cost."""
    from music_agents.dry_run import dry_run

    with user_faults():
        rehearsal = run_async(dry_run(job, _begin(job, as_json)))
    emit(rehearsal.model_dump(mode="json"), as_json, text=escape(rehearsal.describe()))


def check_job(job: SimulationJob, *, as_json: bool) -> None:
    """Measure what the models can do; a strategy that cannot work ends the command with its exit code."""
    from music_agents.model_check import check_models

    progress, display = job.progress(), partial(show_progress, console=console, as_json=as_json)

    async def check() -> ModelCheck:
        with stop_on_signals(progress):
            return await check_models(job, seeds, progress, display)

    with user_faults():
        seeds = _begin(job, as_json)
        try:
            verdict = run_async(check())
        except RoleFailedError as error:  # nothing else lets one through
            console.print(f"stopped: {progress.stop_detail}", soft_wrap=True, markup=False)
            raise typer.Exit(INTERRUPTED if progress.stop_reason is StopCause.USER else STOPPED) from error
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


async def _run_with(pool: WorkerPool, job: SimulationJob, out: Path, retry_failed: bool, as_json: bool) -> RunReport:
    """Do the job with workers."""
    progress, display = RunProgress(), partial(show_progress, console=console, as_json=as_json)
    async with pool:
        with stop_on_signals(progress):  # in here, as Ray takes SIGTERM for itself when it starts
            report = await run_distributed(
                job.located(), out, pool, progress, retry_failed=retry_failed, probe=True, display=display
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


_INDENT = " " * 11


def fill_roles(seeds: str, user: str, assistant: str, contrast: str) -> dict[str, str]:
    """Return the endpoints of the three roles, filled in where none was given.

    Over the sandbox's seeds that is the sandbox. Over anything else it is the assistant's, which must be given: a run
    over real seeds never gets toy replies unless it asks for them.

    Args:
        seeds: What pairs grow from.
        user: As given; empty for not given. Likewise the others.
        assistant: Answers on the chosen side.
        contrast: Answers on the rejected side.

    Raises:
        InvalidInputError: The assistant's endpoint is missing.
    """
    if not assistant and seeds != SANDBOX:
        raise InvalidInputError(
            f"--assistant: expected an endpoint, got none for the seeds {seeds}: give --assistant MODEL@BASE_URL (for "
            "example gemma-2-9b-it@http://127.0.0.1:8000/v1) or local:PATH; --user and --contrast are the same unless "
            "given. --assistant sandbox plays every role with the built-in toy world"
        )
    default = SANDBOX if seeds == SANDBOX else assistant
    return {"user": user or default, "assistant": assistant or default, "contrast": contrast or default}


def describe_cast(job: SimulationJob, seeds: str) -> str:
    """List who plays which role, over which seeds, in lines of about 80 characters.

    Args:
        job: What was asked for.
        seeds: What was read.
    """
    config, roles = job.config, job.endpoints.by_role()
    lines = [("seeds", seeds)]
    for spec, same in groupby(roles, key=roles.__getitem__):
        names = list(same)
        lines += [(name, "as above" if number else _endpoint(spec)) for number, name in enumerate(names)]
    lines.append(("contrasts", _contrasts(config)))
    own = {"personas": job.personas, "graph": job.graph, "imports": ", ".join(job.imports)}
    lines += [(name, value) for name, value in own.items() if value]
    script = ", the users of both sides say the same" if config.shared_script else ""
    turns = f"{config.num_turns} turn{'s' if config.num_turns > 1 else ''} of each side"
    lines.append(("run", f"{config.num_pairs:,} pairs, {turns}, seed {config.seed}{script}"))
    return "\n".join(f"{name:<{len(_INDENT)}}{value}" for name, value in lines)


def cast_as_json(job: SimulationJob, seeds: str) -> dict[str, object]:
    """Return the same as the fields of an event."""
    endpoints = {role: shown(spec) for role, spec in job.endpoints.by_role().items()}
    return {"event": "start", "seeds": seeds, "endpoints": endpoints, "num_wanted": job.config.num_pairs}


def _endpoint(spec: str) -> str:
    """Write an endpoint; replicas stand one below the other."""
    remotes = [read_remote(part.strip()) for part in spec.split(",")]
    if not all(remotes):
        return shown(spec)
    return f",\n{_INDENT}".join(f"{remote[0]} at {shown(remote[1])}" for remote in remotes if remote)


def _contrasts(config: SimulationConfig) -> str:
    """Write the mixture and its schedule."""
    total = sum(config.strategy.values())
    parts = [f"{name} {weight / total:.0%}" for name, weight in config.strategy.items()]
    mixture = next(iter(config.strategy)) if len(parts) == 1 else ", ".join(parts)
    return mixture if config.schedule == "all" else f"{mixture}; turns: {config.schedule}"
