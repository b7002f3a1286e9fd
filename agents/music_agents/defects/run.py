"""Pairs with a defect at one turn, on disk: written and resumed like a simulation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from music.errors import InvalidInputError
from music.llm.chat import EndpointError
from music.pairs import ContrastivePair, TurnContrast, Usage
from music_agents.config import DefectsConfig, SimulationConfig
from music_agents.defects.swaps import Swap, Swaps, Transcript
from music_agents.failures import FailedPair, FailureReason, RoleFailedError, RoleStopError, failure_of
from music_agents.pair_simulator import Outcome, pair_id, pass_gates
from music_agents.progress import RunProgress
from music_agents.quality import GateView, PairGate
from music_agents.roles import MAX_ATTEMPTS, RoleTurn, RoleView, Side, Speaker
from music_agents.run.endpoints import Models, model_names
from music_agents.run.report import RunReport
from music_agents.run.roles import make_gates, make_progress, make_roles
from music_agents.run.run import Display, models_of_run, run_session
from music_agents.run.settings import common_settings

__all__ = ["DefectSwapper", "make_defects"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DefectSwapper:
    """Makes the pair of any index: a conversation unchanged, and with a contrast in place of one reply.

    Attributes:
        swaps: The turn of each index.
        contrast: Answers the turn on the rejected side.
        assistant: Answers it on the chosen side; None keeps the reply of the conversation.
        run_seed: The run's seed.
        gates: Checks of a finished pair.
        models: Name of each role's model, for the output.
        num_attempts: Requests that a role may make for its turn, by index.
    """

    swaps: Swaps
    contrast: Speaker
    assistant: Speaker | None
    run_seed: int
    gates: Sequence[PairGate] = ()
    models: Mapping[str, str] = field(default_factory=dict)
    num_attempts: Callable[[int], int] = lambda _: MAX_ATTEMPTS

    async def run(self, index: int) -> Outcome:
        """Make the pair with this index, or return why it failed."""
        swap = self.swaps[index]
        failed = partial(FailedPair, index=index, id=pair_id(self.run_seed, index), seed_id=swap.transcript.id)
        turns: dict[str, RoleTurn] = {}
        try:
            if self.assistant is not None:
                turns["assistant"] = await self._ask(self.assistant, "assistant", "chosen", swap, index)
            turns["contrast"] = await self._ask(self.contrast, "contrast", "rejected", swap, index)
        except RoleStopError as error:
            return failed(**failure_of(error), role=error.role, side=error.side, turn=error.turn)
        good = turns["assistant"].text if self.assistant else swap.reply
        bad, contrast = turns["contrast"].text, turns["contrast"].contrast
        if contrast is None:
            return failed(reason=FailureReason.NOT_CONTRASTED, detail=f"nothing to change in turn {swap.turn + 1}")
        if bad.strip() == good.strip():
            return failed(reason=FailureReason.IDENTICAL_SIDES, detail="the contrast says what the other side says")
        pair = self._pair(index, swap, (good, bad), contrast, turns)
        return await pass_gates(pair, self.gates, GateView(pair=index, run_seed=self.run_seed), failed)

    async def _ask(self, role: Speaker, name: str, side: Side, swap: Swap, index: int) -> RoleTurn:
        """Let a role answer the turn, the only one of its side.

        Raises:
            RoleStopError: The role gave the pair up.
        """
        view = RoleView(
            conversation=swap.history,
            side=side,
            part="assistant",
            turn=0,
            num_turns=1,
            pair=index,
            run_seed=self.run_seed,
            num_attempts=self.num_attempts(index),
        )
        try:
            return await role(view)
        except (RoleFailedError, EndpointError) as error:
            raise RoleStopError(error, side, name, swap.turn) from error

    def _pair(
        self,
        index: int,
        swap: Swap,
        replies: tuple[str, str],
        contrast: TurnContrast,
        turns: Mapping[str, RoleTurn],
    ) -> ContrastivePair:
        return ContrastivePair(
            id=pair_id(self.run_seed, index),
            chosen=swap.with_reply(replies[0]),
            rejected=swap.with_reply(replies[1]),
            source=swap.transcript.source,
            seed_id=swap.transcript.id,
            num_seed_messages=swap.place - 1,
            contrasts=(contrast,),
            models=dict(self.models),
            usage=sum((turn.usage for turn in turns.values()), Usage()),
            seed=self.run_seed,
            retries=tuple(f"{role}:{reason}" for role, turn in turns.items() for reason in turn.retries),
        )


async def make_defects(
    config: DefectsConfig,
    out: Path,
    transcripts: Sequence[Transcript],
    *,
    models: Models | None = None,
    progress: RunProgress | None = None,
    retry_failed: bool = False,
    probe: bool = False,
    display: Display | None = None,
) -> RunReport:
    """Make pairs with a contrast at one turn into a directory, or resume where an earlier session ended.

    Args:
        config: Settings of the run.
        out: The directory of the run, with the files of a simulation.
        transcripts: The conversations; every turn of them is used.
        models: Models in place of the config's endpoints: the contrast, and the assistant for `same_author` and for
            contrasts that need one.
        progress: Live counts and the budget.
        retry_failed: Whether failed pairs are tried again.
        probe: Whether every endpoint over HTTP is asked once before the first pair.
        display: Shows the progress.

    Raises:
        InvalidInputError: More pairs are wanted than there are turns, or `run_simulation` would raise it.
    """
    simulation, progress = config.as_simulation(), progress or make_progress(config)
    swaps = Swaps(transcripts, config.seed)
    if config.num_pairs > len(swaps):
        raise InvalidInputError(
            f"expected at most {len(swaps)} pairs, one for each assistant turn of {len(transcripts)} conversations, "
            f"got {config.num_pairs}: ask for fewer, or give more conversations"
        )
    async with models_of_run(config, models) as loaded:
        own = {"transcripts": swaps.digest(), "same_author": config.same_author}
        settings = common_settings(loaded, simulation) | own
        make_swapper = partial(_make_swapper, config, simulation, swaps)
        return await run_session(
            simulation, out, loaded, settings, make_swapper, progress,
            retry_failed=retry_failed, probe=probe, display=display,
        )  # fmt: skip


def _make_swapper(
    config: DefectsConfig,
    simulation: SimulationConfig,
    swaps: Swaps,
    models: Models,
    num_attempts: Callable[[int], int],
) -> DefectSwapper:
    """Build what makes the pairs from the metered and journaled models of a run."""
    roles = make_roles(models, simulation)
    return DefectSwapper(
        swaps=swaps,
        contrast=roles.contrast,
        assistant=roles.assistant if config.same_author else None,
        run_seed=config.seed,
        gates=make_gates(models, simulation),
        models=model_names(models),
        num_attempts=num_attempts,
    )
