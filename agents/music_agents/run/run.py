"""A simulation on disk: `run_simulation` writes a directory, and resumes it after any interruption.

    pairs-00000.parquet, ...   the pairs, in the order of their indices
    manifest.json              their checksums
    failures.jsonl             failed pairs with reasons (retries.json: how often they were tried again)
    run.json                   settings, status, counts, costs, diagnostics, wall time
    journal.sqlite             every reply that was paid for

To resume a run, start it again with the same settings: finished shards stay, all other replies are replayed from the
journal, and only requests without a reply are sent. The output is the first `num_pairs` good pairs by index, in order,
whatever the concurrency.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from music.errors import InvalidInputError
from music.gc import relaxed
from music.llm.cache import ReplyCache
from music.llm.journal import Journal
from music.pairs import PreferencePair
from music.registry import SANDBOX
from music_agents.config import SimulationConfig
from music_agents.contrasts import Schedule
from music_agents.graph import build_pair_graph
from music_agents.output.failure_log import FailureLog
from music_agents.output.shard_folder import close_gap, has_rows
from music_agents.pair_simulator import PairSimulator
from music_agents.personas import PersonaSource
from music_agents.personas.sources import load_personas
from music_agents.progress import RunProgress
from music_agents.progress.events import ProgressWatch
from music_agents.roles import MAX_ATTEMPTS
from music_agents.run.endpoints import (
    Models,
    checked_models,
    load_models,
    model_names,
    paced_endpoints,
    probe_endpoints,
)
from music_agents.run.report import RunReport, read_report
from music_agents.run.roles import GraphFactory, WatchedContrast, make_gates, make_progress, make_roles, wrap_models
from music_agents.run.session import FAILURES, JOURNAL, PARTITIONS, REPORT, Session
from music_agents.run.settings import Partition, fingerprint, free_settings, has_changed
from music_agents.run_config import RunConfig, load_graph
from music_agents.seeds import Seed, SeedContexts, load_seeds
from music_agents.simulation import PairMaker

__all__ = ["Display", "MakerFactory", "load_run_personas", "models_of_run", "run_session", "run_simulation"]

Display: TypeAlias = Callable[[ProgressWatch], AbstractAsyncContextManager[None]]
"""Shows the progress while a block runs."""
MakerFactory: TypeAlias = Callable[[Models, Callable[[int], int]], PairMaker]
"""Builds the `PairMaker` from the metered and journaled models, and from the attempts of a role by index."""


async def run_simulation(
    config: SimulationConfig,
    out: Path,
    *,
    models: Models | None = None,
    seeds: Sequence[Seed | PreferencePair] | None = None,
    personas: PersonaSource | None = None,
    graph: GraphFactory | None = None,
    progress: RunProgress | None = None,
    retry_failed: bool = False,
    probe: bool = False,
    partition: Partition | None = None,
    display: Display | None = None,
) -> RunReport:
    """Simulate pairs into a directory, or resume an earlier session of the same run.

    Args:
        config: Settings of the run.
        out: The directory of the run.
        models: Models by role, in place of the config's endpoints; they stay open.
        seeds: Preference pairs, prompts and conversations, in place of the config's.
        personas: Personas of the users, in place of the config's.
        graph: Builds the pair graph, in place of the config's.
        progress: Live counts and the budget; its `stop()` ends the session cleanly, and paid replies are kept.
        retry_failed: Whether failed pairs are tried again; good ones take their place in the order.
        probe: Whether every endpoint over HTTP gets one request before the first pair.
        partition: Simulate these indices only, in place of as many as `num_pairs` good pairs need.
        display: Shows the progress during the session.

    Returns:
        The content of `run.json`; its status reports whether the run is complete or why it stopped.

    Raises:
        ChangedSettingsError: The directory holds a run with other settings.
        JournalLockedError: Another process uses the directory.
        InvalidInputError: The directory holds other files or more pairs than are wanted, something that the config
            names does not exist, or your own user prompt does not show the personas.
        EndpointNotReadyError: An endpoint did not answer the probe.
        SimulationStalledError: Nearly all recent pairs or calls failed, or the contrast failed from the start.

    Example:
        >>> config = SimulationConfig(num_pairs=20, num_turns=3)  # the sandbox plays every role
        >>> report = asyncio.run(run_simulation(config, Path("runs/a")))
        >>> report.status
        <RunStatus.COMPLETE: 'complete'>
    """
    progress = progress or make_progress(config)
    # The file of a graph may register contrasts, so it is loaded first.
    graph = graph or (load_graph(config.graph) if config.graph else build_pair_graph)
    seeds = seeds or load_seeds(*config.seed_source()).seeds
    personas = personas or load_run_personas(config)
    config.user_template(shows_persona=personas is not None)
    make_simulator = _simulator_factory(config, graph, SeedContexts(seeds, config.seed), personas, progress)
    async with models_of_run(config, models) as loaded:
        settings = fingerprint(seeds, loaded, config, personas, graph, partition)
        return await run_session(
            config, out, loaded, settings, make_simulator, progress,
            retry_failed=retry_failed, probe=probe, partition=partition, display=display,
        )  # fmt: skip


def _simulator_factory(
    config: SimulationConfig,
    graph: GraphFactory,
    contexts: SeedContexts,
    personas: PersonaSource | None,
    progress: RunProgress,
) -> MakerFactory:
    """Return what builds the simulator of a run from its metered and journaled models."""

    def make(models: Models, num_attempts: Callable[[int], int]) -> PairSimulator:
        if "user" not in models:
            raise InvalidInputError("expected a model that plays the user, got none: name its endpoint (--user)")
        roles = make_roles(models, config)
        watched = WatchedContrast(roles.contrast, progress, Schedule.parse(config.schedule))
        return PairSimulator(
            graph=graph(replace(roles, contrast=watched)),
            contexts=contexts,
            num_turns=config.num_turns,
            run_seed=config.seed,
            personas=personas,
            gates=make_gates(models, config),
            models=model_names(models),
            num_attempts=num_attempts,
        )

    return make


async def run_session(
    config: SimulationConfig,
    out: Path,
    models: Models,
    settings: Mapping[str, Any],
    maker: MakerFactory,
    progress: RunProgress,
    *,
    retry_failed: bool = False,
    probe: bool = False,
    partition: Partition | None = None,
    display: Display | None = None,
) -> RunReport:
    """Write pairs of any `PairMaker` to a directory, or resume, as `run_simulation` does.

    Args:
        config: Settings of the run.
        out: The directory of the run.
        models: Models by role.
        settings: Settings that every session of the run must share, as JSON values.
        maker: Builds the `PairMaker`.
        progress: Live counts and the budget.
        retry_failed: Whether failed pairs are tried again.
        probe: Whether every endpoint over HTTP gets one request before the first pair.
        partition: Make these indices only.
        display: Shows the progress.
    """
    async with AsyncExitStack() as stack:
        cache = await stack.enter_async_context(ReplyCache(config.cache)) if config.cache else None
        if display is not None:
            await stack.enter_async_context(display(ProgressWatch(progress, paced_endpoints(models))))
        _prepare(out)
        free = free_settings(out, settings)
        journal = await stack.enter_async_context(Journal.open(out / JOURNAL, settings, free))
        failures = FailureLog(out / FAILURES)
        if has_changed(read_report(out / REPORT), settings, free):
            failures.start_over()
        if retry_failed:
            failures.retry()
        wrap = wrap_models(models, journal, progress, cache)
        endpoints = {role: model.name for role, model in models.items()}
        session = Session(out, endpoints, config, dict(settings), failures, progress, partition)
        ledgered = {role: wrap(role, model) for role, model in models.items()}
        made = maker(
            ledgered, lambda index: MAX_ATTEMPTS * (1 + failures.num_retries(index))
        )  # before any call: it may raise
        with relaxed(), progress.asking(models.values()):
            if probe and not progress.stopping and progress.num_pairs < progress.num_wanted:
                await probe_endpoints(models, wrap, config.sampling_of)
            return await session.run(made)


@asynccontextmanager
async def models_of_run(config: RunConfig, models: Models | None) -> AsyncIterator[Models]:
    """Yield the models of a run: the caller's, which stay open, or those of the config."""
    if models is not None:
        yield checked_models(models)
        return
    async with load_models(config) as loaded:
        yield loaded


def load_run_personas(config: SimulationConfig) -> PersonaSource | None:
    """Load the personas of a run; None for no personas."""
    seeds = None if config.seeds == SANDBOX else config.seeds
    return load_personas(config.personas, seeds, split=config.split) if config.personas else None


def _prepare(out: Path) -> None:
    """Create the directory, and refuse one with pairs but without their journal."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InvalidInputError(f"{out}: expected a folder to write to (--out), but that is a file") from None
    if (out / PARTITIONS).exists():
        raise InvalidInputError(
            f"{out} holds a run that was begun in shares: resume it with --processes or --ray, "
            "or give another output directory"
        )
    journal = out / JOURNAL
    if has_rows(out) and not (journal.exists() and journal.stat().st_size):
        raise InvalidInputError(f"{out} holds pairs but no {JOURNAL}: give another output directory")
    close_gap(out)
