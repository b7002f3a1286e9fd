"""What a preflight measured, and what follows from it for a run."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field, replace

from pydantic import BaseModel, ConfigDict

from music.llm.chat import ChatModel, ChatReply, ChatRequest, EndpointError
from music.llm.spending.records import Spending
from music_agents.contrasts.registry import Cast, ContrastSpec
from music_agents.failures import FailureReason, RoleFailedError, failure_reason, remedy
from music_agents.personas import PersonaSource
from music_agents.progress import RunProgress
from music_agents.progress.events import ProgressWatch
from music_agents.progress.metering import MeteredModel
from music_agents.roles import MAX_ATTEMPTS, RoleView, Speaker
from music_agents.run import Casting, RoleModels, SimulationConfig, SimulationJob
from music_agents.run.endpoints import probe_endpoints
from music_agents.run.roles import cast
from music_agents.seeds import Seed, SeedContext, SeedContexts, derive_seed

__all__ = ["Measure", "ModelCheck", "check_models", "sum_up"]

MIN_KEPT = 0.05
"""Share of the pairs that must come to their end, or the strategy cannot work."""


class Measure(BaseModel):
    """What a role, or a contrast, made of its turns."""

    model_config = ConfigDict(frozen=True)

    num_asked: int
    """Replies asked for."""
    num_fit: int
    """Replies that were of use."""
    unfit: dict[str, int]
    """The others, by reason."""

    @property
    def share_of_turns(self) -> float:
        """The share of turns that come to a reply of use, as a turn is asked for three times at most."""
        return 1.0 if not self.num_asked else 1 - (1 - self.num_fit / self.num_asked) ** MAX_ATTEMPTS

    def describe(self) -> str:
        """Say it in a line."""
        unfit = ", ".join(f"{reason} {num}" for reason, num in self.unfit.items())
        return f"{self.num_fit} of {self.num_asked} replies usable" + (f"; {unfit}" if unfit else "")


class ModelCheck(BaseModel):
    """What the models of a run can do."""

    model_config = ConfigDict(frozen=True)

    roles: dict[str, Measure]
    """User and assistant."""
    contrasts: dict[str, Measure]
    """By contrast, as it is written."""
    share_kept: float
    """Share of the run's pairs that would come to their end."""
    notes: dict[str, int]
    """Replies that had something taken out, by role and kind: `assistant:thinking`."""
    spending: Spending
    """Of the preflight itself."""

    @property
    def can_work(self) -> bool:
        """Whether the strategy can work with these models."""
        return self.share_kept >= MIN_KEPT

    def describe(self) -> str:
        """Say what was measured, and what to do."""
        measures = self.roles | self.contrasts
        width = max(11, *(len(name) + 1 for name in measures))
        lines = [f"{name:<{width}}{measure.describe()}" for name, measure in measures.items()]
        if self.notes:
            lines.append(f"{'taken out':<{width}}{', '.join(f'{kind} {num}' for kind, num in self.notes.items())}")
        cost = f", {self.spending.cost:.2f} USD" if self.spending.cost else ""
        lines.append(f"{'spent':<{width}}{self.spending.num_calls} calls, {self.spending.num_tokens:,} tokens{cost}")
        verdict = "can work" if self.can_work else "cannot work"
        kept = f"about {100 * self.share_kept:.0f} of 100 pairs would come to their end"
        lines.append(f"{'verdict':<{width}}this strategy {verdict} with these models: {kept}")
        return "\n".join([*lines, *(f"{'advice':<{width}}{one}" for one in self.advice())])

    def advice(self) -> list[str]:
        """Return what would help, for whatever loses a fifth of its turns or more."""
        told = []
        for name, measure in (self.roles | self.contrasts).items():
            if measure.unfit and measure.share_of_turns < 0.8:
                worst = FailureReason(next(iter(measure.unfit)))
                told.append(f"{name}: {remedy(worst) or f'most replies fail by {worst}'}")
        able = [name for name, measure in self.contrasts.items() if measure.share_of_turns >= 0.8]
        if told and able and len(able) < len(self.contrasts):
            told.append(f"--strategy {','.join(able)} is what this model can do of the strategy")
        return told


def sum_up(
    config: SimulationConfig, tallies: Mapping[str, Counter[str]], notes: Counter[str], spending: Spending
) -> ModelCheck:
    """Turn counts into a verdict."""
    measures = {
        name: Measure(
            num_asked=tally.total(),
            num_fit=tally[""],
            unfit={reason: num for reason, num in tally.most_common() if reason},
        )
        for name, tally in tallies.items()
    }
    roles = {name: measures.pop(name) for name in ("user", "assistant")}
    num_turns = config.num_turns
    num_user_turns = num_turns if config.shared_script else 2 * num_turns - 1  # the first is shared
    talk = roles["user"].share_of_turns ** num_user_turns * roles["assistant"].share_of_turns ** num_turns
    weights = {name: weight / sum(config.strategy.values()) for name, weight in config.strategy.items()}
    kept = sum(weight * measures[name].share_of_turns ** num_turns for name, weight in weights.items())
    return ModelCheck(
        roles=roles,
        contrasts=measures,
        share_kept=talk * kept,
        notes=dict(notes.most_common()),
        spending=spending,
    )


NUM_PAIRS = 8
NUM_TURNS = 2

Display = Callable[[ProgressWatch], AbstractAsyncContextManager[None]]
"""Shows the progress for as long as a block lasts."""


async def check_models(
    job: SimulationJob, seeds: Sequence[Seed], progress: RunProgress, display: Display | None = None
) -> ModelCheck:
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
    return display(ProgressWatch(progress, models.endpoints())) if display else nullcontext()


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
    contrasts: Mapping[str, Speaker]
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

    async def _speak(self, name: str, role: Speaker, view: RoleView) -> str:
        """Ask for a turn as often as a run does, each time with another seed; nothing if no reply was of use."""
        for attempt in range(MAX_ATTEMPTS):
            seed = derive_seed(view.run_seed, "check", attempt) if attempt else view.run_seed
            if said := await self._try(name, role, replace(view, run_seed=seed)):
                return said
        return ""

    async def _try(self, name: str, role: Speaker, view: RoleView) -> str:
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
