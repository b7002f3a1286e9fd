"""The preflight (`music simulate --check`): what these models can do, measured on a few pairs before a run.

Eight pairs of two turns are played with the run's own prompts and gates; in every turn each contrast of the strategy
is asked once. From the share of replies that are of use follows how many pairs of the run would come to their end.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field, replace

from music.llm.chat import ChatModel, ChatReply, ChatRequest, EndpointError
from music.seeding import derive_seed
from music_agents.contrasts.registry import Cast, ContrastSpec
from music_agents.failures import FailureReason, RoleFailedError, failure_reason
from music_agents.personas import PersonaSource
from music_agents.preflight.verdict import Preflight, sum_up
from music_agents.progress import RunProgress
from music_agents.progress.events import Watch
from music_agents.progress.metering import MeteredModel
from music_agents.roles import MAX_ATTEMPTS, Role, RoleView
from music_agents.run import Casting, RoleModels, SimulationConfig, SimulationJob
from music_agents.run.casting import cast
from music_agents.run.probing import probe_endpoints
from music_agents.seed_contexts import SeedContext, SeedContexts
from music_agents.seeds import Seed

__all__ = ["check_models"]

NUM_PAIRS = 8
NUM_TURNS = 2

Display = Callable[[Watch], AbstractAsyncContextManager[None]]
"""Shows the progress for as long as a block lasts."""


async def check_models(
    job: SimulationJob, seeds: Sequence[Seed], progress: RunProgress, display: Display | None = None
) -> Preflight:
    """Measure what the models of a job can do. Its calls are charged to the job's budget, and to no run.

    Args:
        job: What is to be simulated.
        seeds: What `load_seeds` read.
        progress: Live counts, with the job's budget.
        display: Shows the progress for as long as a block lasts.

    Raises:
        EndpointNotReadyError: An endpoint does not answer.
        RoleFailedError: It was asked to stop, or its budget is spent.
    """
    notes = Counter[str]()
    progress.begin(NUM_PAIRS)
    async with job.endpoints.open() as models, _shown(display, progress, models):
        accounts = {role: progress.open_account(role, model.name) for role, model in models.by_role().items()}

        def wrap(role: str, model: ChatModel) -> ChatModel:
            return _Noted(MeteredModel(model, progress, accounts[role]), role, notes)

        await probe_endpoints(models, wrap, job.config.sampling_of)
        play = _Play.of(models.wrapped(wrap), job.config, job.load_personas())
        contexts, is_free = SeedContexts(seeds, job.config.seed), asyncio.Semaphore(job.config.max_in_flight)

        async def one(index: int) -> None:
            async with is_free:
                await play.pair(index, contexts[index])
            progress.end_pair(index)

        await asyncio.gather(*map(one, range(NUM_PAIRS)))
    return sum_up(job.config, play.tallies, notes, progress.ledger.spending())


def _shown(display: Display | None, progress: RunProgress, models: RoleModels) -> AbstractAsyncContextManager[None]:
    return display(Watch(progress, models.endpoints())) if display else nullcontext()


class _Noted:
    """A model whose replies are looked at for what was taken out of them."""

    def __init__(self, model: ChatModel, role: str, notes: Counter[str]) -> None:
        self._model = model
        self._role = role
        self._notes = notes

    @property
    def name(self) -> str:
        """The model's name."""
        return self._model.name

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer one request."""
        reply = await self._model.complete(request)
        kinds = {*reply.cleaned, *(["thinking"] if reply.thinking else [])}
        self._notes.update(f"{self._role}:{kind}" for kind in kinds)
        return reply

    async def aclose(self) -> None:
        """Release the model."""
        await self._model.aclose()


@dataclass
class _Play:
    """Plays the chosen side of pairs, and asks every contrast in every turn."""

    casting: Casting
    contrasts: Mapping[str, Role]
    config: SimulationConfig
    personas: PersonaSource | None
    tallies: dict[str, Counter[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, models: RoleModels, config: SimulationConfig, personas: PersonaSource | None) -> "_Play":
        casting = cast(models, config)
        players = Cast(
            contrast=models.contrast,
            assistant=casting.roles.assistant,
            weaker=models.weaker,
            sampling=casting.sampling,
        )
        contrasts = {text: ContrastSpec.parse(text).make(players) for text in config.strategy}
        names = ["user", "assistant", *contrasts]
        return cls(casting, contrasts, config, personas, {name: Counter() for name in names})

    async def pair(self, index: int, start: SeedContext) -> None:
        """Play one pair, as far as user and assistant get."""
        roles, conversation = self.casting.roles, start.conversation
        persona = self.personas(index, start.seed, self.config.seed) if self.personas else None
        view = RoleView(
            conversation=conversation, side="chosen", part="user", turn=0, pair=index, run_seed=self.config.seed,
            num_turns=max(self.config.num_turns, NUM_TURNS + 1), persona=persona, num_attempts=1,
        )  # fmt: skip
        for turn in range(NUM_TURNS):
            view = replace(view, conversation=conversation, part="user", turn=turn, side="chosen")
            asked = start.opening if turn == 0 and start.opening else await self._speak("user", roles.user, view)
            if not asked:
                return
            view = replace(view, conversation=conversation.user(asked), part="assistant")
            rejected = replace(view, side="rejected", other=view.conversation)
            for name, contrast in self.contrasts.items():
                await self._try(name, contrast, rejected)
            answer = await self._speak("assistant", roles.assistant, view)
            if not answer:
                return
            conversation = view.conversation.assistant(answer)

    async def _speak(self, name: str, role: Role, view: RoleView) -> str:
        """Ask for a turn as often as a run does, each time with another seed; nothing if no reply was of use."""
        for attempt in range(MAX_ATTEMPTS):
            seed = derive_seed(view.run_seed, "check", attempt) if attempt else view.run_seed
            if said := await self._try(name, role, replace(view, run_seed=seed)):
                return said
        return ""

    async def _try(self, name: str, role: Role, view: RoleView) -> str:
        """Ask for a turn once, and count what came; nothing if the reply was of no use."""
        try:
            said = (await role(view)).text
        except (RoleFailedError, EndpointError) as error:
            if failure_reason(error) is FailureReason.INTERRUPTED:
                raise
            self.tallies[name][failure_reason(error)] += 1
            return ""
        self.tallies[name][""] += 1
        return said
