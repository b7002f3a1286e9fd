"""A simulation on disk: `run_simulation` writes a directory that any interruption leaves ready to go on.

    pairs-00000.parquet, ...   the pairs, in the order of their indices
    manifest.json              their checksums
    failures.jsonl             pairs that came to nothing, and why (retries.json: how often they were tried again)
    run.json                   settings, status, counts, costs, diagnostics, wall time
    journal.sqlite             every reply that was paid for

Going on is running the same again: shards stay, all else is replayed from the journal, and only what was never
answered is asked. The output is the first `num_pairs` indices that come out well, in order, whatever the concurrency.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from music.errors import InvalidInputError
from music.gc import relaxed
from music.llm.cache import ReplyCache
from music.llm.journal import Journal
from music.pairs import PreferencePair
from music_agents.config import SimulationConfig
from music_agents.contrasts import Schedule
from music_agents.output.failure_log import FailureLog
from music_agents.output.shard_folder import close_gap, has_rows
from music_agents.personas import PersonaSource
from music_agents.progress import RunProgress
from music_agents.roles import MAX_ATTEMPTS
from music_agents.run.endpoints import RoleModels, probe_endpoints
from music_agents.run.report import RunReport, read_report
from music_agents.run.roles import GraphFactory, WatchedContrast, cast, make_gates, standard_graph, wrap_models
from music_agents.run.session import FAILURES, JOURNAL, REPORT, SHARES, Session
from music_agents.run.settings import Partition, fingerprint, free_settings, has_changed
from music_agents.seeds import Seed, SeedContexts
from music_agents.simulation import PairMaker
from music_agents.simulator import PairSimulator

__all__ = ["MakerFactory", "run_session", "run_simulation"]

MakerFactory = Callable[[RoleModels, Callable[[int], int]], PairMaker]
"""Builds what makes the pairs from the metered and journaled models, and from how often a role may ask, by index."""


async def run_simulation(
    directory: Path,
    seeds: Sequence[Seed | PreferencePair],
    models: RoleModels,
    config: SimulationConfig,
    progress: RunProgress | None = None,
    *,
    personas: PersonaSource | None = None,
    graph: GraphFactory = standard_graph,
    retry_failed: bool = False,
    share: Partition | None = None,
    cache: ReplyCache | None = None,
    imports: Mapping[str, str] | None = None,
    probe: bool = False,
) -> RunReport:
    """Simulate pairs into a directory, or go on where an earlier session of the same run ended.

    Args:
        directory: Where the run is, or is to be.
        seeds: Preference pairs, prompts and conversations to grow from.
        models: Who plays which role.
        config: The settings.
        progress: Live counts and the budget; its `stop()` ends the session in order, with nothing paid for lost.
        personas: Who the users are; None for anyone.
        graph: Builds the pair graph.
        retry_failed: Whether failed pairs are tried again; those that come out well take their place in the order.
        share: Simulate these indices and no other, in place of the first that come to `num_pairs` pairs.
        cache: Replies of other runs, which are not asked for again.
        imports: Digests of the user's own code that registered contrasts, by module; part of the settings.
        probe: Whether every endpoint over HTTP is asked once before the first pair.

    Returns:
        What `run.json` holds; its status says whether the run is complete or why it stopped.

    Raises:
        ChangedSettingsError: The directory holds a run with other settings.
        JournalLockedError: Another process is at work on it.
        InvalidInputError: It holds other files, or more pairs than are wanted; or the instructions of one's own for the
            user show no persona, though there are personas.
        EndpointNotReadyError: An endpoint did not answer the probe.
        SimulationStalledError: Next to nothing but failures came for a while, most of the last calls failed, or the
            contrast came to nothing from the start.
    """
    progress = progress or RunProgress()

    def simulator(ledgered: RoleModels, num_attempts: Callable[[int], int]) -> PairSimulator:
        casting = cast(ledgered, config)
        schedule = Schedule.parse(config.schedule)
        watched = replace(casting.roles, contrast=WatchedContrast(casting.roles.contrast, progress, schedule))
        return PairSimulator(
            graph=graph(replace(casting, roles=watched)),
            contexts=SeedContexts(seeds, config.seed),
            num_turns=config.num_turns,
            run_seed=config.seed,
            personas=personas,
            gates=make_gates(ledgered, config),
            models=models.names(),
            num_attempts=num_attempts,
        )

    config.user_template(shows_persona=personas is not None)
    settings = fingerprint(seeds, models, config, personas, graph, str(share or "all"), imports)
    return await run_session(
        directory,
        models,
        config,
        settings,
        simulator,
        progress,
        retry_failed=retry_failed,
        share=share,
        cache=cache,
        probe=probe,
    )


async def run_session(
    directory: Path,
    models: RoleModels,
    config: SimulationConfig,
    settings: Mapping[str, Any],
    maker: MakerFactory,
    progress: RunProgress | None = None,
    *,
    retry_failed: bool = False,
    share: Partition | None = None,
    cache: ReplyCache | None = None,
    probe: bool = False,
) -> RunReport:
    """Make pairs into a directory, or go on; `run_simulation` says how, for whatever makes the pairs.

    Args:
        directory: As for `run_simulation`, and so are the others that are not named here.
        models: Who plays which role.
        config: The settings.
        settings: What every session of the run must share, as JSON values.
        maker: Builds what makes the pairs.
        progress: Live counts and the budget.
        retry_failed: Whether failed pairs are tried again.
        share: Make these indices and no other.
        cache: Replies of other runs.
        probe: Whether every endpoint is asked once before the first pair.
    """
    _prepare(directory)
    progress = progress or RunProgress()
    free = free_settings(directory, settings)
    async with Journal.open(directory / JOURNAL, settings, free) as journal:
        failures = FailureLog(directory / FAILURES)
        if has_changed(read_report(directory / REPORT), settings, free):
            failures.start_over()
        if retry_failed:
            failures.retry()
        wrap = wrap_models(models, journal, progress, cache)
        ledgered = models.wrapped(wrap)
        endpoints = {role: model.name for role, model in models.by_role().items()}
        session = Session(directory, endpoints, config, dict(settings), failures, progress, share)
        made = maker(ledgered, lambda index: MAX_ATTEMPTS * (1 + failures.num_retries(index)))  # may find a mistake
        with relaxed(), progress.asking(models.by_role().values()):
            if probe and not progress.stopping and progress.num_pairs < progress.num_wanted:
                await probe_endpoints(models, wrap, config.sampling_of)
            return await session.run(made)


def _prepare(directory: Path) -> None:
    """Make the directory, and refuse one whose pairs have lost their journal."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InvalidInputError(f"{directory}: expected a folder to write to (--out), but that is a file") from None
    if (directory / SHARES).exists():
        raise InvalidInputError(
            f"{directory} holds a run that was begun in shares: resume it with --processes or --ray, "
            "or give another output directory"
        )
    journal = directory / JOURNAL
    if has_rows(directory) and not (journal.exists() and journal.stat().st_size):
        raise InvalidInputError(f"{directory} holds pairs but no {JOURNAL}: give another output directory")
    close_gap(directory)
