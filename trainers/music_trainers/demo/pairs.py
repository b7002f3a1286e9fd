"""The demo's training pairs: simulated over real HTTP, for three arms that share their seed contexts.

Every arm trains on the same base pairs and the same number of contrastive pairs: with a contrast in the last turn only,
with one at every turn (the paper's), or half of the latter and half against standing constraints.
"""

import asyncio
import itertools
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from music.conversation import Conversation
from music.llm import ChatModel, load_model
from music.pairs import ContrastivePair, PreferencePair
from music.preferences import read_preferences
from music.sandbox import seed_pairs
from music.sandbox.server import ServerConfig, sandbox_server
from music_agents import InstructionContrast, RoleView, RunReport, SimulationConfig, run_simulation
from music_trainers.demo.config import DemoConfig

__all__ = ["ARMS", "simulate_arms"]

ARMS = {
    "last-turn": "contrast in the last turn only",
    "music": "instruction contrast at every turn (the paper's)",
    "mixture": "half as in music, half against standing constraints",
}
ASSISTANT = "good"
MAX_IN_FLIGHT = 32


async def simulate_arms(config: DemoConfig) -> tuple[dict[str, list[PreferencePair]], int]:
    """Simulate the contrastive pairs of each arm.

    Returns:
        The pairs of each arm, and the number of calls made.
    """
    num, half = config.sizes.num_contrastive_pairs, config.sizes.num_contrastive_pairs // 2
    seeds = seed_pairs(num, config.seed, single_turn_share=1.0)
    with sandbox_server(ServerConfig(seed=config.seed)) as base_url, TemporaryDirectory() as scratch:
        model = load_model(f"{ASSISTANT}@{base_url}")
        try:
            everywhere, calls = await _simulated(config, model, seeds, "instruction", num, Path(scratch))
            dropped, more_calls = await _simulated(config, model, seeds, "drop_constraint", half, Path(scratch))
            last = await _last_turn_only(model, everywhere)
        finally:
            await model.aclose()
    arms: dict[str, list[PreferencePair]] = {
        "last-turn": last,
        "music": list(everywhere),
        "mixture": [*dropped, *everywhere[half:]],
    }
    return arms, calls + more_calls + len(last)


async def _simulated(
    config: DemoConfig,
    model: ChatModel,
    seeds: Sequence[PreferencePair],
    strategy: str,
    num_pairs: int,
    scratch: Path,
) -> tuple[list[ContrastivePair], int]:
    """Run one simulation as `music simulate` does, and read its pairs."""
    folder = scratch / strategy
    settings = SimulationConfig(
        num_pairs=num_pairs,
        num_turns=config.sizes.num_turns,
        strategy={strategy: 1.0},
        seed=config.seed,
        max_in_flight=MAX_IN_FLIGHT,
    )
    models = {"user": model, "assistant": model, "contrast": model}
    report: RunReport = await run_simulation(settings, folder, models=models, seeds=seeds)
    pairs = [pair for pair in read_preferences(folder).pairs if isinstance(pair, ContrastivePair)]
    return pairs, report.spending.num_calls


async def _last_turn_only(model: ChatModel, pairs: Sequence[ContrastivePair]) -> list[PreferencePair]:
    """Contrast only the last turn of each chosen conversation."""
    contrast = InstructionContrast(model)
    in_flight = asyncio.Semaphore(MAX_IN_FLIGHT)

    async def contrasted(index: int, pair: ContrastivePair) -> PreferencePair:
        asked = pair.chosen.prefix(len(pair.chosen.messages) - 1)
        rejected = pair.chosen
        async with in_flight:
            for attempt in itertools.count():
                rejected = asked.assistant((await contrast(_last_view(asked, pair, index, attempt))).text)
                # The chosen reply can have the contrast's error by chance.
                if rejected != pair.chosen:
                    break
        return PreferencePair(id=f"{pair.id}-last", chosen=pair.chosen, rejected=rejected)

    return list(await asyncio.gather(*(contrasted(index, pair) for index, pair in enumerate(pairs))))


def _last_view(asked: Conversation, pair: ContrastivePair, index: int, attempt: int) -> RoleView:
    """Return the view for the contrast of a pair's last turn; each attempt draws again."""
    num_turns = len(pair.contrasts)
    return RoleView(
        conversation=asked,
        side="rejected",
        part="assistant",
        turn=num_turns - 1,
        num_turns=num_turns,
        pair=index,
        run_seed=pair.seed + attempt,
    )
