"""`SimulationJob`: a whole simulation as plain data, so that any process can take it up."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Self, cast

from pydantic import BaseModel, ConfigDict, model_validator

from music.errors import InvalidInputError
from music.llm.cache import ReplyCache
from music.llm.spending.budget import Budget, PriceTable
from music.llm.spending.ledger import Ledger
from music.pairs import PreferencePair
from music.preferences.said import Consecutive
from music.user_code import UserCodeError, digest_code, load_object
from music_agents.config import SimulationConfig
from music_agents.personas import PersonaSource
from music_agents.personas.sources import load_personas
from music_agents.progress import RunProgress
from music_agents.progress.events import ProgressWatch
from music_agents.run.endpoints import RoleEndpoints
from music_agents.run.report import RunReport
from music_agents.run.roles import GraphFactory, standard_graph
from music_agents.run.run import run_simulation
from music_agents.run.settings import Partition
from music_agents.seeds import SANDBOX, Seed, load_seeds

__all__ = ["SANDBOX", "SimulationJob", "load_graph", "open_progress"]


class SimulationJob(BaseModel):
    """What `music simulate` was asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seeds: str
    """A file, folder or hub id of preference pairs, prompts or conversations; or `sandbox`."""
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
    """Who the users are, as `load_personas` reads it; empty for anyone."""
    graph: str = ""
    """What builds the pair graph, as `load_graph` reads it; empty for the standard one."""
    cache: Path | None = None
    """File of replies that runs share, as `music.llm.cache.ReplyCache` keeps it; None for none."""
    imports: tuple[str, ...] = ()
    """Code of the user's own that registers contrasts, each as `FILE.py` or `MODULE`."""

    @model_validator(mode="after")
    def _prompted(self) -> "SimulationJob":
        self.config.user_template(shows_persona=bool(self.personas))
        return self

    def read_seeds(self) -> tuple[Seed, ...]:
        """Read what pairs grow from; see `music_agents.seeds.load_seeds`."""
        return load_seeds(self.seeds, self.format, self.strict, self.split, self.consecutive).seeds

    def located(self) -> Self:
        """Return the job with absolute paths, for processes that work in another folder."""
        place, _, name = self.graph.rpartition(":")
        is_file = self.seeds != SANDBOX and Path(self.seeds).exists()
        return self.model_copy(
            update={
                "seeds": str(Path(self.seeds).absolute()) if is_file else self.seeds,
                "personas": str(Path(self.personas).absolute()) if Path(self.personas).is_file() else self.personas,
                "graph": f"{Path(place).absolute()}:{name}" if place.endswith(".py") else self.graph,
                "imports": tuple(str(Path(code).absolute()) if code.endswith(".py") else code for code in self.imports),
            }
        )

    def load_personas(self) -> PersonaSource | None:
        """Open who the users are; None for anyone."""
        seeds = None if self.seeds == SANDBOX else self.seeds
        return load_personas(self.personas, seeds, split=self.split) if self.personas else None

    def graph_factory(self) -> GraphFactory:
        """Load what builds the pair graph."""
        return load_graph(self.graph) if self.graph else standard_graph

    async def run(
        self,
        directory: Path,
        seeds: Sequence[Seed | PreferencePair],
        progress: RunProgress,
        *,
        retry_failed: bool = False,
        share: Partition | None = None,
        probe: bool = False,
        display: Callable[[ProgressWatch], AbstractAsyncContextManager[None]] | None = None,
    ) -> RunReport:
        """Do the job, or go on with it; see `run_simulation`.

        Args:
            directory: Where the run is, or is to be.
            seeds: What `load_seeds` read.
            progress: Live counts, with the budget of `progress`.
            retry_failed: Whether failed pairs are tried again.
            share: Simulate these indices alone.
            probe: Whether every endpoint over HTTP is asked once before the first pair.
            display: Shows the progress for as long as a block lasts; None for not at all.
        """
        imports = digest_code(self.imports)
        personas = self.load_personas()
        async with AsyncExitStack() as stack:
            models = await stack.enter_async_context(self.endpoints.open())
            cache = await stack.enter_async_context(ReplyCache(self.cache)) if self.cache else None
            if display is not None:
                await stack.enter_async_context(display(ProgressWatch(progress, models.endpoints())))
            return await run_simulation(
                directory,
                seeds,
                models,
                self.config,
                progress,
                personas=personas,
                graph=self.graph_factory(),
                imports=imports,
                retry_failed=retry_failed,
                share=share,
                cache=cache,
                probe=probe,
            )

    def progress(self) -> RunProgress:
        """Return the progress of a session, with the job's budget and prices."""
        return open_progress(self.config)


def open_progress(config: SimulationConfig) -> RunProgress:
    """Return the progress of a session, with the budget and prices of its settings."""
    budget = Budget(max_cost=config.max_cost, max_total_tokens=config.max_total_tokens)
    return RunProgress(ledger=Ledger(budget, PriceTable.parse(config.prices)))


def load_graph(spec: str) -> GraphFactory:
    """Load what builds a pair graph, once in a process: the file may register contrasts.

    Args:
        spec: `FILE.py:FUNCTION` or `MODULE:FUNCTION`; the function takes a `Casting` and returns a compiled graph.

    Raises:
        InvalidInputError: There is no such file, module or function.
        UserCodeError: The code cannot be imported.
    """
    try:
        factory = load_object(spec)
    except (InvalidInputError, UserCodeError) as error:
        raise type(error)(f"graph {spec!r}: {error}") from error
    if not callable(factory):
        raise InvalidInputError(f"graph {spec!r}: expected a function that takes a Casting, got {factory!r}")
    return cast(GraphFactory, factory)
