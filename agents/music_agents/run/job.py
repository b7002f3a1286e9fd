"""`SimulationJob`: a whole simulation as plain data, so that any process can take it up."""

import importlib
import importlib.util
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import cache
from pathlib import Path
from typing import cast

from pydantic import BaseModel, ConfigDict

from music.errors import InvalidInputError
from music.llm.spending.budget import Budget, PriceTable
from music.llm.spending.ledger import Ledger
from music.pairs import PreferencePair
from music.preferences.said import Consecutive
from music_agents.personas.sources import open_personas
from music_agents.progress import RunProgress
from music_agents.progress.events import Watch
from music_agents.run.casting import GraphFactory, standard_graph
from music_agents.run.config import SimulationConfig
from music_agents.run.models import RoleEndpoints
from music_agents.run.report import RunReport
from music_agents.run.run import run_simulation
from music_agents.run.share import Share

__all__ = ["SANDBOX", "SimulationJob", "load_graph", "open_progress"]

SANDBOX = "sandbox"
NUM_SANDBOX_SEEDS = 1000


class SimulationJob(BaseModel):
    """What `music simulate` was asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seeds: str
    """A preference file, folder or hub id; or `sandbox`."""
    format: str | None = None
    """Format of the seeds; None to detect it."""
    strict: bool = False
    """Whether the first row that cannot be used is an error."""
    split: str | None = None
    """Which split of a folder or hub data set; by default `train`, or the only one."""
    consecutive: Consecutive = Consecutive.REFUSE
    """What becomes of two messages in a row by one speaker in a seed."""
    endpoints: RoleEndpoints = RoleEndpoints()
    """Who plays which role."""
    config: SimulationConfig
    """The settings."""
    personas: str = ""
    """Who the users are, as `open_personas` reads it; empty for anyone."""
    graph: str = ""
    """What builds the pair graph, as `load_graph` reads it; empty for the standard one."""

    def read_seeds(self) -> list[PreferencePair]:
        """Read the preference pairs to start from, or draw the sandbox's.

        Raises:
            InvalidInputError: The source cannot be read.
        """
        return read_seeds(self.seeds, self.format, self.strict, self.split, self.consecutive)

    async def run(
        self,
        directory: Path,
        pairs: list[PreferencePair],
        progress: RunProgress,
        *,
        retry_failed: bool = False,
        share: Share | None = None,
        display: Callable[[Watch], AbstractAsyncContextManager[None]] | None = None,
    ) -> RunReport:
        """Do the job, or go on with it; see `run_simulation`.

        Args:
            directory: Where the run is, or is to be.
            pairs: What `read_seeds` read.
            progress: Live counts, with the budget of `progress`.
            retry_failed: Whether failed pairs are tried again.
            share: Simulate these indices alone.
            display: Shows the progress for as long as a block lasts; None for not at all.
        """
        seeds_path = None if self.seeds == SANDBOX else self.seeds
        personas = open_personas(self.personas, seeds_path, split=self.split) if self.personas else None
        async with AsyncExitStack() as stack:
            models = await stack.enter_async_context(self.endpoints.open())
            if display is not None:
                await stack.enter_async_context(display(Watch(progress, models.endpoints())))
            return await run_simulation(
                directory,
                pairs,
                models,
                self.config,
                progress,
                personas=personas,
                graph=load_graph(self.graph) if self.graph else standard_graph,
                retry_failed=retry_failed,
                share=share,
            )

    def progress(self) -> RunProgress:
        """Return the progress of a session, with the job's budget and prices."""
        return open_progress(self.config)


def open_progress(config: SimulationConfig) -> RunProgress:
    """Return the progress of a session, with the budget and prices of its settings."""
    budget = Budget(max_cost=config.max_cost, max_tokens=config.max_tokens)
    return RunProgress(ledger=Ledger(budget, PriceTable.parse(config.prices)))


def read_seeds(
    seeds: str,
    format: str | None,
    strict: bool,
    split: str | None = None,
    consecutive: Consecutive = Consecutive.REFUSE,
) -> list[PreferencePair]:
    """Read preference pairs, or draw the sandbox's; see `SimulationJob.read_seeds`."""
    from music.preferences import Format, read_preferences
    from music.sandbox.seeds import seed_pairs

    if seeds == SANDBOX:
        return seed_pairs(NUM_SANDBOX_SEEDS, 0)
    found = read_preferences(
        seeds, format=Format(format) if format else None, strict=strict, split=split, consecutive=consecutive
    )
    return without_tools(found.pairs)


def without_tools(pairs: Iterable[PreferencePair]) -> list[PreferencePair]:
    """Return the pairs to start from: simulated players neither call tools nor read their results."""
    return [pair for pair in pairs if not pair.chosen.has_tools]


@cache
def load_graph(spec: str) -> GraphFactory:
    """Load what builds a pair graph, once in a process: the file may register contrasts.

    Args:
        spec: `FILE.py:FUNCTION` or `MODULE:FUNCTION`; the function takes a `Casting` and returns a compiled graph.

    Raises:
        InvalidInputError: There is no such file, module or function.
    """
    place, _, name = spec.rpartition(":")
    try:
        module = _load_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
        factory = getattr(module, name)
    except (ImportError, OSError, AttributeError, ValueError) as error:
        raise InvalidInputError(f"graph {spec!r}: expected FILE.py:FUNCTION or MODULE:FUNCTION ({error})") from error
    if not callable(factory):
        raise InvalidInputError(f"graph {spec!r}: expected a function that takes a Casting, got {factory!r}")
    return cast(GraphFactory, factory)


def _load_file(path: Path) -> object:
    """Import a Python file that need not be on the path."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ImportError(f"no such Python file: {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
