"""The texts that a run prints at its start and at its end."""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from music.llm.endpoints import read_remote, shown
from music.llm.spending.records import Spending
from music_agents.config import SimulationConfig
from music_agents.run.report import RunReport, drop_warnings, reply_warnings

__all__ = ["describe_report", "describe_start", "start_event"]

_INDENT = " " * 11


def describe_start(config: SimulationConfig, seeds: str) -> str:
    """Return the seeds, the model of each role and the size of a run, one per line.

    Args:
        config: Settings of the run.
        seeds: Description of the seeds.
    """
    roles = config.endpoints()
    lines = [("seeds", seeds)]
    for endpoint, same in groupby(roles, key=roles.__getitem__):
        names = list(same)
        lines += [(name, "as above" if number else _endpoint(endpoint)) for number, name in enumerate(names)]
    lines.append(("contrasts", _contrasts(config)))
    own = {"personas": config.personas, "graph": config.graph, "imports": ", ".join(config.imports)}
    lines += [(name, value) for name, value in own.items() if value]
    script = ", the users of both sides say the same" if config.shared_script else ""
    turns = f"{config.num_turns} turn{'s' if config.num_turns > 1 else ''} of each side"
    lines.append(("run", f"{config.num_pairs:,} pairs, {turns}, seed {config.seed}{script}"))
    return "\n".join(f"{name:<{len(_INDENT)}}{value}" for name, value in lines)


def start_event(config: SimulationConfig, seeds: str) -> dict[str, object]:
    """Return the same as a JSON event."""
    endpoints = {role: shown(endpoint) for role, endpoint in config.endpoints().items()}
    return {"event": "start", "seeds": seeds, "endpoints": endpoints, "num_wanted": config.num_pairs}


def describe_report(out: Path, report: RunReport) -> str:
    """Return a description of the result of a run."""
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


def _endpoint(endpoint: str) -> str:
    """Format an endpoint, with one replica per line."""
    remotes = [read_remote(part.strip()) for part in endpoint.split(",")]
    if not all(remotes):
        return shown(endpoint)
    return f",\n{_INDENT}".join(f"{remote[0]} at {shown(remote[1])}" for remote in remotes if remote)


def _contrasts(config: SimulationConfig) -> str:
    """Format the mixture of contrasts and its schedule."""
    total = sum(config.strategy.values())
    parts = [f"{name} {weight / total:.0%}" for name, weight in config.strategy.items()]
    mixture = next(iter(config.strategy)) if len(parts) == 1 else ", ".join(parts)
    return mixture if config.schedule == "all" else f"{mixture}; turns: {config.schedule}"


def _extra_spending(spending: Spending) -> Iterator[str]:
    """Yield lines on paid tries without a reply, replies of unknown size, and replies from the cache."""
    if num := spending.sum("num_failed_tries"):
        num_estimated, tokens = spending.sum("num_estimated"), spending.sum("estimated_tokens")
        guess = f", {num_estimated} of them by estimate ({tokens} tokens)" if num_estimated else ""
        yield f"among these tokens: {num} failed tries that are paid for{guess}"
    if num := spending.sum("num_uncounted"):
        yield f"not among these tokens: {num} replies for which the endpoint reported no usage"
    if num := spending.sum("num_reused"):
        yield f"from the cache, not paid for: {num} replies, {spending.sum('reused_tokens')} tokens"
