"""`run_page`: the page of a simulation while it runs, and after it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from music.viewer.list_page import strip
from music.viewer.listing import Listed
from music.viewer.live import LiveRun
from music.viewer.query import Query
from music.viewer.records import Kind, Record, key_of
from music.viewer.rendering import Urls, duration, render

__all__ = ["RunPage", "run_page"]

STATUS_TEXTS = {
    "running": "Running",
    "silent": "No sign of life",
    "complete": "Complete",
    "interrupted": "Interrupted",
    "budget": "Stopped at its budget",
    "stalled": "Stopped: nearly everything failed",
}
_SETTLING_SECONDS = 20.0
"""How long a page follows a run that has ended, until its last pairs are in the index."""
_RESUMED = ("silent", "interrupted", "budget", "stalled")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPage:
    """What the page of a run shows.

    Attributes:
        run: The run.
        others: Other runs, the latest first.
        newest: Its newest pairs.
    """

    run: LiveRun
    others: Sequence[LiveRun]
    newest: Sequence[Listed]


def run_page(page: RunPage, urls: Urls) -> str:
    """Return the HTML of a run."""
    return render(
        "run.html.jinja",
        page=page,
        run=page.run,
        urls=urls,
        query=Query(),
        folder=_shown(page.run.folder),
        figures=_figures(page.run),
        status_texts=STATUS_TEXTS,
        is_live=page.run.is_running or time.time() - page.run.written < _SETTLING_SECONDS,
        can_resume=page.run.status in _RESUMED,
        failure_list=lambda reason: urls.list(Query(kind=Kind.FAILURE, source=reason, sort="newest")),
        failure_link=lambda record: urls.record(key_of(record), Query(kind=Kind.FAILURE, source=record.source)),
        role_of=_role,
        strip=strip,
    )


def _shown(folder: Path) -> str:
    """Return the path of a folder, from here if it is below."""
    return str(folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder)


def _figures(run: LiveRun) -> list[tuple[str, str, str]]:
    """Return names, values and notes of the figures."""
    waiting = f", {run.num_waiting:,} not on disk yet" if run.num_waiting else ""
    rows = [("Pairs", f"{run.num_pairs:,}", f"of {run.num_wanted:,}{waiting}")]
    if run.is_running:
        rows += [_pace(run), _left(run)]
    rows.append(("Time so far" if run.is_running else "Time", duration(run.seconds), ""))
    each = f"{run.num_calls / run.num_pairs:,.1f} a pair" if run.num_pairs else ""
    rows.append(("Calls", f"{run.num_calls:,}", each))
    each = f"{run.num_tokens / run.num_pairs:,.0f} a pair" if run.num_pairs else ""
    rows.append(("Tokens", f"{run.num_tokens:,}", each))
    if run.cost:  # not of models without a price
        rows.append(("Cost", f"{run.cost:,.2f} USD", ""))
    share = run.num_failed / max(1, run.num_pairs + run.num_failed)
    rows.append(("Failed", f"{run.num_failed:,}", f"{share:.1%} of the pairs" if run.num_failed else ""))
    return rows


def _pace(run: LiveRun) -> tuple[str, str, str]:
    if run.pairs_per_second is None:
        return "Rate", "…", "no pair yet"
    rate, unit = run.pairs_per_second, ""
    for unit in ("a second", "a minute", "an hour"):
        if rate >= 1 or unit == "an hour":
            break
        rate *= 60
    return "Rate", f"{rate:,.1f}", f"pairs {unit}"


def _left(run: LiveRun) -> tuple[str, str, str]:
    return "Time left", "…" if run.seconds_left is None else duration(run.seconds_left), ""


def _role(record: Record) -> str:
    """Return who failed, where and when, in words."""
    role, side, turn = (record.details.get(name) for name in ("role", "side", "turn"))
    parts = [str(role or ""), f"{side} side" if side else "", f"turn {turn + 1}" if isinstance(turn, int) else ""]
    return ", ".join(filter(None, parts))
