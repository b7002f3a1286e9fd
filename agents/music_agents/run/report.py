"""`run.json`: what a run was asked for and how far it is."""

from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict

from music.files import replace_file
from music.llm.spending.records import Spending
from music_agents.failures import THINKING_OFF, FailureReason, remedy
from music_agents.quality import JudgeFigures, PairDiagnostics

__all__ = ["RunReport", "RunStatus", "drop_warnings", "read_report", "reply_warnings", "write_report"]

MAX_CLEANED_SHARE = 0.01
MAX_DROPPED_SHARE = 0.1
MIN_DROPPED = 5
_CLEANED = {
    "thinking": f"held thinking, which was taken out: it is paid for; most servers switch it off by {THINKING_OFF}",
    "role_header": "began with the header of their own turn, which was taken out: check the server's chat template",
    "end_mark": "ended in the mark that ends a turn, which was taken out: make it a stop token of the server",
    "control_token": "held a control token in their midst: check the server's stop tokens",
}


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
    """Replies of pairs that were simulated to their end, which were unusable and asked for again, by `role:reason`."""
    replies: dict[str, dict[str, int]] = {}
    """By role, how many of its replies held `thinking`, or lost a `role_header` or an `end_mark`, or held a
    `control_token`: of all that were paid for, in all sessions."""
    judge: JudgeFigures | None = None
    """What the judge said; None for a run without one."""
    spending: Spending
    """Of all replies that were paid for, in all sessions, those of failed pairs included."""
    wall_seconds: float
    """Of all sessions that ended in order."""
    diagnostics: PairDiagnostics | None = None
    """What the finished set looks like; None until it is complete."""
    endpoints: dict[str, str]
    """Endpoint of each role, as this session had it."""
    unsupported: dict[str, tuple[str, ...]] = {}
    """What endpoints refused to take and were asked without, by endpoint, as this session found out."""
    settings: dict[str, Any]
    """What a session that resumes the run must share."""
    versions: dict[str, str]


def reply_warnings(report: RunReport) -> Iterator[str]:
    """Yield a warning for each role of whose replies more than a hundredth had something taken out."""
    num_replies: Counter[str] = Counter()
    for account in report.spending.accounts:
        num_replies[account.account] += account.num_calls
    for role, kinds in report.replies.items():
        for kind, num in kinds.items():
            if num > MAX_CLEANED_SHARE * num_replies[role]:
                yield f"{num:,} of {num_replies[role]:,} replies of the {role} {_CLEANED[kind]}"


def drop_warnings(report: RunReport) -> Iterator[str]:
    """Yield a warning, with the remedy, for each reason that dropped more than a tenth of the pairs."""
    num_ended = report.num_pairs + sum(report.failures.values())
    for reason, num in report.failures.items():
        if num >= MIN_DROPPED and num > MAX_DROPPED_SHARE * num_ended:
            yield f"{num:,} of {num_ended:,} pairs were dropped by {reason}: {remedy(FailureReason(reason))}"


def versions() -> dict[str, str]:
    """Return the versions that matter to a run."""
    return {"music-rm": version("music-rm"), "langgraph": version("langgraph"), "python": python_version()}


def read_report(path: Path) -> RunReport | None:
    """Return what an earlier session left, or None."""
    return RunReport.model_validate_json(path.read_bytes()) if path.exists() else None


def write_report(path: Path, report: RunReport) -> None:
    """Write a report, whole or not at all."""
    replace_file(path, orjson.dumps(report.model_dump(mode="json"), option=orjson.OPT_INDENT_2))
