"""A set of defects on disk: the files of a simulation, resumed as one."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from music.errors import InvalidInputError
from music.llm.cache import ReplyCache
from music_agents.contrasts import make_contrast
from music_agents.defects.swapper import DefectSwapper
from music_agents.defects.swaps import Swaps
from music_agents.defects.transcripts import Transcript
from music_agents.progress import RunProgress
from music_agents.run import RoleModels, RunReport, SimulationConfig
from music_agents.run.casting import cast_contrasts, make_gates
from music_agents.run.fingerprint import common_settings
from music_agents.run.run import run_session

__all__ = ["make_defects"]


async def make_defects(
    directory: Path,
    transcripts: Sequence[Transcript],
    models: RoleModels,
    config: SimulationConfig,
    progress: RunProgress | None = None,
    *,
    same_author: bool = False,
    retry_failed: bool = False,
    cache: ReplyCache | None = None,
    imports: Mapping[str, str] | None = None,
    probe: bool = False,
) -> RunReport:
    """Make pairs with a contrast at one turn into a directory, or go on where an earlier session ended.

    Args:
        directory: Where the run is, or is to be; laid out as a simulation's.
        transcripts: The conversations; all of their turns are taken.
        models: Who plays the contrast; and the assistant, for contrasts that need one and for `same_author`.
        config: The settings; one turn of each side is made, whatever `num_turns` says.
        progress: Live counts and the budget.
        same_author: Whether the assistant answers the turn of the chosen side, too.
        retry_failed: Whether failed pairs are tried again.
        cache: Replies of other runs, which are not asked for again.
        imports: As for `run_simulation`.
        probe: Likewise.

    Raises:
        InvalidInputError: More pairs are wanted than there are turns; and as for `run_simulation`.
    """
    config = config.model_copy(update={"num_turns": 1})
    progress = progress or RunProgress()
    swaps = Swaps(transcripts, config.seed)
    if config.num_pairs > len(swaps):
        raise InvalidInputError(
            f"expected at most {len(swaps)} pairs, one for each assistant turn of {len(transcripts)} conversations, "
            f"got {config.num_pairs}: ask for fewer, or give more conversations"
        )

    def swapper(ledgered: RoleModels, num_attempts: Callable[[int], int]) -> DefectSwapper:
        players = cast_contrasts(ledgered, config)
        return DefectSwapper(
            swaps=swaps,
            contrast=make_contrast(config.strategy, players),
            assistant=players.assistant if same_author else None,
            run_seed=config.seed,
            gates=make_gates(ledgered, config),
            models=models.names(),
            num_attempts=num_attempts,
        )

    own = {"transcripts": swaps.digest(), "same_author": same_author}
    settings = common_settings(models, config, imports) | own
    return await run_session(
        directory, models, config, settings, swapper, progress, retry_failed=retry_failed, cache=cache, probe=probe
    )
