"""A simulation on disk: `run_simulation` writes a directory that any interruption leaves ready to go on.

    pairs-00000.parquet, ...   the pairs, in the order of their indices
    failures.jsonl             pairs that came to nothing, and why
    run.json                   settings, status, counts, tokens, wall time
    journal.sqlite             every reply that was paid for

Going on is running the same again: shards stay, all else is replayed from the journal, and only what was never
answered is asked. Other settings are refused, except for `num_pairs`, which may grow, and `max_in_flight`.
"""

import hashlib
import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, field_validator

from music import prompts
from music.errors import InvalidInputError
from music.llm.chat import ChatModel
from music.llm.journal import Journal, JournaledModel
from music.pairs import PreferencePair, Usage
from music_agents.contrasts import check_mix, make_contrast
from music_agents.failure_log import FailureLog
from music_agents.failures import FailedPair, FailureReason
from music_agents.progress import MeteredModel, RunProgress
from music_agents.roles import AssistantRole, Roles, Sampling, UserRole
from music_agents.seeds import digest_seeds
from music_agents.shards import PairTable, pair_index, replace_file, shard_paths
from music_agents.simulation import Outcome, SimulationStalledError, simulate

__all__ = ["RoleModels", "RunReport", "RunStatus", "SimulationConfig", "run_simulation"]


_JOURNAL = "journal.sqlite"
_FAILURES = "failures.jsonl"
_REPORT = "run.json"
_LAYOUT = 1
"""Version of the layout of keys, seeds and files; a change of it ends the resuming of older runs."""


class SimulationConfig(BaseModel):
    """Settings of a simulation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_pairs: PositiveInt
    """Pairs wanted."""
    num_turns: PositiveInt = 5
    """Simulated turns of each side."""
    strategy: Mapping[str, float] = Field(default_factory=lambda: {"instruction": 1.0})
    """Contrasts by name with their weights; one is drawn for each pair."""
    seed: NonNegativeInt = 0
    """Seed of seed contexts, requests and draws."""
    max_in_flight: PositiveInt = 64
    """Pairs, and so calls, in flight."""
    temperature: float | None = Field(default=None, ge=0)
    """Sampling temperature; None leaves it to the endpoint."""
    max_tokens: PositiveInt | None = None
    """Bound on each reply's tokens; None leaves it to the endpoint."""
    persona: str = ""
    """Who the user is; empty for anyone."""
    shard_size: PositiveInt = 1000
    """Rows of an output file."""

    @field_validator("strategy")
    @classmethod
    def _known(cls, strategy: Mapping[str, float]) -> Mapping[str, float]:
        check_mix(strategy)
        return strategy


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleModels:
    """Who plays which role; one model may play several. Whoever made the models closes them."""

    user: ChatModel
    assistant: ChatModel
    contrast: ChatModel


class RunStatus(StrEnum):
    """Where a run stands."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    STALLED = "stalled"
    COMPLETE = "complete"


class RunReport(BaseModel):
    """What `run.json` holds."""

    model_config = ConfigDict(frozen=True)

    status: RunStatus
    num_wanted: int
    num_pairs: int
    failures: dict[str, int]
    """Failed pairs by reason."""
    usage: Usage
    """Of all replies that were paid for, in all sessions, those of failed pairs included."""
    wall_seconds: float
    """Of all sessions that ended in order."""
    settings: dict[str, Any]
    """What a session that goes on must share."""
    versions: dict[str, str]


async def run_simulation(
    directory: Path,
    seeds: Sequence[PreferencePair],
    models: RoleModels,
    config: SimulationConfig,
    progress: RunProgress | None = None,
) -> RunReport:
    """Simulate pairs into a directory, or go on where an earlier session of the same run ended.

    Args:
        directory: Where the run is, or is to be.
        seeds: Preference pairs to grow from.
        models: Who plays which role.
        config: The settings.
        progress: Live counts; its `stop()` ends the session in order, with nothing that was paid for lost.

    Returns:
        What `run.json` holds: the status is `complete`, or `interrupted` if the session was asked to stop.

    Raises:
        ChangedSettingsError: The directory holds a run with other settings.
        JournalLockedError: Another process is at work on it.
        InvalidInputError: It holds other files, or more pairs than are wanted.
        SimulationStalledError: The last 20 outcomes were failures.
    """
    _prepare(directory)
    settings = _settings(seeds, models, config)
    async with Journal.open(directory / _JOURNAL, settings) as journal:
        session = _Session(directory, config, settings, journal, progress or RunProgress())
        return await session.run(seeds, models)


class _Session:
    """One go at a run, from the opening of its files to their closing."""

    def __init__(
        self,
        directory: Path,
        config: SimulationConfig,
        settings: Mapping[str, Any],
        journal: Journal,
        progress: RunProgress,
    ) -> None:
        self._report_path = directory / _REPORT
        self._config = config
        self._settings = settings
        self._journal = journal
        self._progress = progress
        self._failures = FailureLog(directory / _FAILURES)
        self._table = PairTable(directory, config.shard_size, self._failures.indices)
        self._unsettled: list[FailedPair] = []
        self._earlier_seconds = _earlier_seconds(self._report_path)
        if self._table.num_pairs > config.num_pairs:
            raise InvalidInputError(
                f"{directory} holds {self._table.num_pairs} pairs already, more than the {config.num_pairs} wanted: "
                "ask for at least as many, or give another output directory"
            )
        progress.started = time.monotonic()
        progress.num_wanted = config.num_pairs
        progress.num_pairs = progress.num_earlier = self._table.num_pairs
        progress.failures.update(self._failures.reasons)

    async def run(self, seeds: Sequence[PreferencePair], models: RoleModels) -> RunReport:
        """Simulate what is missing, and leave the files in order however that ends."""
        status = RunStatus.INTERRUPTED
        await self._save(RunStatus.RUNNING)
        try:
            await self._simulate(seeds, self._roles(models))
            if self._progress.num_pairs == self._config.num_pairs:
                self._settle()
                status = RunStatus.COMPLETE
        except SimulationStalledError:
            status = RunStatus.STALLED
            raise
        finally:
            self._table.flush()
            report = await self._save(status)
        return report

    async def _simulate(self, seeds: Sequence[PreferencePair], roles: Roles) -> None:
        """Take and record outcomes until all pairs are there or the session is to stop."""
        outcomes = simulate(
            seeds,
            roles,
            num_pairs=self._config.num_pairs - self._table.num_pairs,
            num_turns=self._config.num_turns,
            seed=self._config.seed,
            max_in_flight=self._config.max_in_flight,
            skip=self._table.ended,
        )
        async with aclosing(outcomes):
            async for outcome in outcomes:
                self._record(outcome)

    def _record(self, outcome: Outcome) -> None:
        """Take one outcome.

        Failures are settled by the next pair that comes out well. Those that a session ends with, as it does when an
        endpoint is down, are forgotten, and tried again when the run goes on.
        """
        if isinstance(outcome, FailedPair):
            if outcome.reason is not FailureReason.INTERRUPTED:
                self._unsettled.append(outcome)
                self._progress.failures[outcome.reason] += 1
            return
        self._settle()
        self._table.add(pair_index(outcome.id), outcome)
        self._progress.num_pairs += 1

    def _settle(self) -> None:
        """Write the failures that wait, before the table can pass over their indices."""
        self._failures.append(self._unsettled)
        for failure in self._unsettled:
            self._table.add(failure.index, None)
        self._unsettled.clear()

    def _roles(self, models: RoleModels) -> Roles:
        """Return the roles over metered and journaled models."""
        sampling = Sampling(temperature=self._config.temperature, max_tokens=self._config.max_tokens)
        user, assistant, contrast = (
            JournaledModel(MeteredModel(model, self._progress), self._journal)
            for model in (models.user, models.assistant, models.contrast)
        )
        return Roles(
            user=UserRole(user, self._config.persona, sampling),
            assistant=AssistantRole(assistant, sampling),
            contrast=make_contrast(self._config.strategy, contrast, sampling),
            models={"user": user.name, "assistant": assistant.name, "contrast": contrast.name},
        )

    async def _save(self, status: RunStatus) -> RunReport:
        """Write `run.json`."""
        report = RunReport(
            status=status,
            num_wanted=self._config.num_pairs,
            num_pairs=self._table.num_pairs,
            failures=self._failures.reasons,
            usage=await self._journal.usage(),
            wall_seconds=round(self._earlier_seconds + self._progress.seconds, 3),
            settings=dict(self._settings),
            versions={"music-rm": version("music-rm"), "langgraph": version("langgraph"), "python": python_version()},
        )
        replace_file(self._report_path, orjson.dumps(report.model_dump(mode="json"), option=orjson.OPT_INDENT_2))
        return report


def _prepare(directory: Path) -> None:
    """Make the directory, and refuse one whose pairs have lost their journal."""
    directory.mkdir(parents=True, exist_ok=True)
    if shard_paths(directory) and not (directory / _JOURNAL).exists():
        raise InvalidInputError(f"{directory} holds pairs but no {_JOURNAL}: give another output directory")


def _settings(seeds: Sequence[PreferencePair], models: RoleModels, config: SimulationConfig) -> dict[str, Any]:
    """Return what every session of a run must share."""
    own = config.model_dump(mode="json", exclude={"num_pairs", "max_in_flight"})
    templates = (prompts.USER_PROMPT, prompts.INSTRUCTION_PROMPT, prompts.DROP_CONSTRAINT_PROMPT)
    return own | {
        "seed_pairs": f"{len(seeds)} pairs, digest {digest_seeds(seeds)}",
        "user": models.user.name,
        "assistant": models.assistant.name,
        "contrast": models.contrast.name,
        "prompts": f"digest {hashlib.blake2b(repr(templates).encode(), digest_size=8).hexdigest()}",
        "layout": _LAYOUT,
    }


def _earlier_seconds(report_path: Path) -> float:
    """Return the wall time of earlier sessions."""
    if not report_path.exists():
        return 0.0
    return RunReport.model_validate_json(report_path.read_bytes()).wall_seconds
