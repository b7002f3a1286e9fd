"""`run.json`: the settings, the status and the counts of a run. It is written every few seconds while the run lasts."""

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
    """Status of a run."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    """The user stopped it."""
    BUDGET = "budget"
    """It stopped at its budget."""
    STALLED = "stalled"
    """It stopped because nearly all pairs or calls failed."""
    COMPLETE = "complete"


class RunReport(BaseModel):
    """The content of `run.json`."""

    model_config = ConfigDict(frozen=True)

    status: RunStatus
    detail: str = ""
    """A description of why it stopped."""
    num_wanted: int
    num_pairs: int
    """Pairs on disk."""
    num_waiting: int = 0
    """Good pairs that wait for one with a lower index before they are written; only in the file if there are some."""
    failures: dict[str, int]
    """Dropped pairs by reason."""
    retries: dict[str, int]
    """Unusable replies that were requested again, in completed simulations of pairs, by `role:reason`."""
    replies: dict[str, dict[str, int]] = {}
    """By role, paid replies of all sessions: with `thinking` or a `control_token`, or without a `role_header` or an
    `end_mark` that was removed."""
    judge: JudgeFigures | None = None
    """Counts of the judgements; None for a run without a judge."""
    spending: Spending
    """Of all sessions, failed pairs included."""
    wall_seconds: float
    """Of all sessions; of one that was killed, up to its last report."""
    diagnostics: PairDiagnostics | None = None
    """Diagnostics of the finished set; None until the run is complete."""
    endpoints: dict[str, str]
    """Endpoint of each role in this session."""
    unsupported: dict[str, tuple[str, ...]] = {}
    """Request fields that endpoints refused in this session and that were left out, by endpoint."""
    settings: dict[str, Any]
    """Settings that a session must share to resume the run."""
    versions: dict[str, str]


def reply_warnings(report: RunReport) -> Iterator[str]:
    """Yield a warning for each role and each kind of text that was removed from more than 1 % of its replies."""
    num_replies: Counter[str] = Counter()
    for account in report.spending.accounts:
        num_replies[account.account] += account.num_calls
    for role, kinds in report.replies.items():
        for kind, num in kinds.items():
            if num > MAX_CLEANED_SHARE * num_replies[role]:
                yield f"{num:,} of {num_replies[role]:,} replies of the {role} {_CLEANED[kind]}"


def drop_warnings(report: RunReport) -> Iterator[str]:
    """Yield a warning with the remedy for each reason that dropped more than 10 % of the pairs."""
    num_ended = report.num_pairs + sum(report.failures.values())
    for reason, num in report.failures.items():
        if num >= MIN_DROPPED and num > MAX_DROPPED_SHARE * num_ended:
            yield f"{num:,} of {num_ended:,} pairs were dropped by {reason}: {remedy(FailureReason(reason))}"


def versions() -> dict[str, str]:
    """Return the versions of the software that affect a run."""
    return {"music-rm": version("music-rm"), "langgraph": version("langgraph"), "python": python_version()}


def read_report(path: Path) -> RunReport | None:
    """Return the report of the last session; None if there is none."""
    return RunReport.model_validate_json(path.read_bytes()) if path.exists() else None


def write_report(path: Path, report: RunReport) -> None:
    """Write a report atomically."""
    content = report.model_dump(mode="json", exclude=None if report.num_waiting else {"num_waiting"})
    replace_file(path, orjson.dumps(content, option=orjson.OPT_INDENT_2))
