"""`run.json`: what a run was asked for and how far it is."""

from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict

from music.llm.spending.records import Spending
from music_agents.output.files import replace_file
from music_agents.quality import Diagnostics, JudgeFigures

__all__ = ["RunReport", "RunStatus", "read_report", "write_report"]


class RunStatus(StrEnum):
    """Where a run stands."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    """It was asked to stop."""
    BUDGET = "budget"
    """It stopped at its budget."""
    STALLED = "stalled"
    """It stopped because nothing but failures came."""
    COMPLETE = "complete"


class RunReport(BaseModel):
    """What `run.json` holds."""

    model_config = ConfigDict(frozen=True)

    status: RunStatus
    detail: str = ""
    """Why it stopped, for people."""
    num_wanted: int
    num_pairs: int
    failures: dict[str, int]
    """Dropped pairs by reason."""
    retries: dict[str, int]
    """Replies of pairs that were simulated to their end, which were of no use and asked for again, by `role:reason`."""
    judge: JudgeFigures | None = None
    """What the judge said; None for a run without one."""
    spending: Spending
    """Of all replies that were paid for, in all sessions, those of failed pairs included."""
    wall_seconds: float
    """Of all sessions that ended in order."""
    diagnostics: Diagnostics | None = None
    """What the finished set looks like; None until it is complete."""
    endpoints: dict[str, str]
    """Endpoint of each role, as this session had it."""
    settings: dict[str, Any]
    """What a session that goes on must share."""
    versions: dict[str, str]


def versions() -> dict[str, str]:
    """Return the versions that matter to a run."""
    return {"music-rm": version("music-rm"), "langgraph": version("langgraph"), "python": python_version()}


def read_report(path: Path) -> RunReport | None:
    """Return what an earlier session left, or None."""
    return RunReport.model_validate_json(path.read_bytes()) if path.exists() else None


def write_report(path: Path, report: RunReport) -> None:
    """Write a report, whole or not at all."""
    replace_file(path, orjson.dumps(report.model_dump(mode="json"), option=orjson.OPT_INDENT_2))
