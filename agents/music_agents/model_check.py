"""The check of a run's models (`music simulate --check`), measured on a few pairs before a run.

It simulates eight pairs of two turns with the prompts and gates of the run, and requests each contrast of the strategy
once in every turn. The share of usable replies gives an estimate of the share of pairs that a run would complete.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

from pydantic import BaseModel, ConfigDict

from music.llm.chat import ChatModel, ChatReply, ChatRequest, EndpointError
from music.llm.spending.records import Spending
from music.seeding import derive_seed
from music_agents.config import SimulationConfig
from music_agents.contrasts.registry import ContrastSpec
from music_agents.failures import FailureReason, RoleFailedError, failure_reason, remedy
from music_agents.personas import PersonaSource
from music_agents.progress import RunProgress
from music_agents.progress.events import ProgressWatch
from music_agents.progress.metering import MeteredModel
from music_agents.roles import MAX_ATTEMPTS, RoleSet, RoleView, Speaker
from music_agents.run.endpoints import load_models, paced_endpoints, probe_endpoints
from music_agents.run.roles import make_roles
from music_agents.run.run import Display, load_run_personas
from music_agents.seeds import Seed, SeedContext, SeedContexts

__all__ = ["Measure", "ModelCheck", "check_models", "sum_up"]

NUM_PAIRS = 8
NUM_TURNS = 2
MIN_KEPT = 0.05
"""Smallest share of completed pairs with which a strategy can work."""


class Measure(BaseModel):
    """Counts of usable replies of a role or a contrast."""

    model_config = ConfigDict(frozen=True)

    num_asked: int
    """Requested replies."""
    num_fit: int
    """Usable replies."""
    unfit: dict[str, int]
    """Unusable replies by reason."""

    @property
    def share_of_turns(self) -> float:
        """The share of turns that get a usable reply in at most three attempts."""
        return 1.0 if not self.num_asked else 1 - (1 - self.num_fit / self.num_asked) ** MAX_ATTEMPTS

    def describe(self) -> str:
        """Return the counts in one line."""
        unfit = ", ".join(f"{reason} {num}" for reason, num in self.unfit.items())
        return f"{self.num_fit} of {self.num_asked} replies usable" + (f"; {unfit}" if unfit else "")


class ModelCheck(BaseModel):
    """The result of a check of a run's models."""

    model_config = ConfigDict(frozen=True)

    roles: dict[str, Measure]
    """User and assistant."""
    contrasts: dict[str, Measure]
    """By the text of the contrast."""
    share_kept: float
    """Share of the run's pairs that would be completed."""
    notes: dict[str, int]
    """Replies from which text was removed, by role and kind: `assistant:thinking`."""
    spending: Spending
    """Spending of the check."""

    @property
    def can_work(self) -> bool:
        """Whether the strategy can work with these models."""
        return self.share_kept >= MIN_KEPT

    def describe(self) -> str:
        """Return the measurements and the advice as text."""
        measures = self.roles | self.contrasts
        width = max(11, *(len(name) + 1 for name in measures))
        lines = [f"{name:<{width}}{measure.describe()}" for name, measure in measures.items()]
        if self.notes:
            lines.append(f"{'taken out':<{width}}{', '.join(f'{kind} {num}' for kind, num in self.notes.items())}")
        cost = f", {self.spending.cost:.2f} USD" if self.spending.cost else ""
        lines.append(f"{'spent':<{width}}{self.spending.num_calls} calls, {self.spending.num_tokens:,} tokens{cost}")
        verdict = "can work" if self.can_work else "cannot work"
        kept = f"about {100 * self.share_kept:.0f} of 100 pairs would be completed"
        lines.append(f"{'verdict':<{width}}this strategy {verdict} with these models: {kept}")
        return "\n".join([*lines, *(f"{'advice':<{width}}{one}" for one in self.advice())])

    def advice(self) -> list[str]:
        """Return the remedies for each role and contrast that loses more than a fifth of its turns."""
        remedies = []
        for name, measure in (self.roles | self.contrasts).items():
            if measure.unfit and measure.share_of_turns < 0.8:
                worst = FailureReason(next(iter(measure.unfit)))
                remedies.append(f"{name}: {remedy(worst) or f'most replies fail by {worst}'}")
        able = [name for name, measure in self.contrasts.items() if measure.share_of_turns >= 0.8]
        if remedies and able and len(able) < len(self.contrasts):
            remedies.append(f"--strategy {','.join(able)} is what this model can do of the strategy")
        return remedies


def sum_up(
    config: SimulationConfig, tallies: Mapping[str, Counter[str]], notes: Counter[str], spending: Spending
) -> ModelCheck:
    """Return the result for the counts of replies."""
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
    both = roles["user"].share_of_turns ** num_user_turns * roles["assistant"].share_of_turns ** num_turns
    weights = {name: weight / sum(config.strategy.values()) for name, weight in config.strategy.items()}
    kept = sum(weight * measures[name].share_of_turns ** num_turns for name, weight in weights.items())
    return ModelCheck(
        roles=roles,
        contrasts=measures,
        share_kept=both * kept,
        notes=dict(notes.most_common()),
        spending=spending,
    )


async def check_models(
    config: SimulationConfig, seeds: Sequence[Seed], progress: RunProgress, display: Display | None = None
) -> ModelCheck:
    """Check the models of a config. Its calls count towards the config's budget, and belong to no run.

    Args:
        config: Settings of the run.
        seeds: The loaded seeds.
        progress: Live counts, with the config's budget.
        display: Shows the progress.

    Raises:
        EndpointNotReadyError: An endpoint does not answer.
        RoleFailedError: It was stopped, or its budget is spent.
    """
    notes = Counter[str]()
    progress.begin(NUM_PAIRS)
    async with AsyncExitStack() as stack:
        models = await stack.enter_async_context(load_models(config))
        if display is not None:
            await stack.enter_async_context(display(ProgressWatch(progress, paced_endpoints(models))))
        accounts = {role: progress.open_account(role, model.name) for role, model in models.items()}

        def wrap(role: str, model: ChatModel) -> ChatModel:
            return _Noted(MeteredModel(model, progress, accounts[role]), role, notes)

        await probe_endpoints(models, wrap, config.sampling_of)
        roles = make_roles({role: wrap(role, model) for role, model in models.items()}, config)
        trial = _Trial(roles, config, load_run_personas(config))
        contexts, is_free = SeedContexts(seeds, config.seed), asyncio.Semaphore(config.max_in_flight)

        async def one(index: int) -> None:
            async with is_free:
                await trial.pair(index, contexts[index])
            progress.end_pair(index)

        await asyncio.gather(*map(one, range(NUM_PAIRS)))
    return sum_up(config, trial.tallies, notes, progress.ledger.spending())


class _Noted:
    """Wraps a model, and counts the replies from which text was removed."""

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


class _Trial:
    """Simulates the chosen side of pairs, and requests every contrast in every turn."""

    def __init__(self, roles: RoleSet, config: SimulationConfig, personas: PersonaSource | None) -> None:
        self._roles = roles
        self._contrasts = {text: ContrastSpec.parse(text).make(roles) for text in config.strategy}
        self._config = config
        self._personas = personas
        self.tallies = {name: Counter[str]() for name in ("user", "assistant", *self._contrasts)}

    async def pair(self, index: int, start: SeedContext) -> None:
        """Simulate one pair until the user or the assistant gives up."""
        roles, conversation, config = self._roles, start.conversation, self._config
        persona = self._personas(index, start.seed, config.seed) if self._personas else None
        view = RoleView(
            conversation=conversation, side="chosen", part="user", turn=0, pair=index, run_seed=config.seed,
            num_turns=max(config.num_turns, NUM_TURNS + 1), persona=persona, num_attempts=1,
        )  # fmt: skip
        for turn in range(NUM_TURNS):
            view = replace(view, conversation=conversation, part="user", turn=turn, side="chosen")
            asked = start.opening if turn == 0 and start.opening else await self._speak("user", roles.user, view)
            if not asked:
                return
            view = replace(view, conversation=conversation.user(asked), part="assistant")
            rejected = replace(view, side="rejected", other=view.conversation)
            for name, contrast in self._contrasts.items():
                await self._try(name, contrast, rejected)
            answer = await self._speak("assistant", roles.assistant, view)
            if not answer:
                return
            conversation = view.conversation.assistant(answer)

    async def _speak(self, name: str, role: Speaker, view: RoleView) -> str:
        """Request a turn as often as a run does, each time with another seed; empty if no reply was usable."""
        for attempt in range(MAX_ATTEMPTS):
            seed = derive_seed(view.run_seed, "check", attempt) if attempt else view.run_seed
            if said := await self._try(name, role, replace(view, run_seed=seed)):
                return said
        return ""

    async def _try(self, name: str, role: Speaker, view: RoleView) -> str:
        """Request a turn once, and count the result; empty if the reply was unusable."""
        try:
            said = (await role(view)).text
        except (RoleFailedError, EndpointError) as error:
            if failure_reason(error) is FailureReason.INTERRUPTED:
                raise
            self.tallies[name][failure_reason(error)] += 1
            return ""
        self.tallies[name][""] += 1
        return said
