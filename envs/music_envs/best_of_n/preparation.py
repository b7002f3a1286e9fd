"""What precedes the replies of `evaluate_best_of_n`: checked arguments, seeds, and selectors that work."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.files import require_output_folder
from music.judges.settings import read_judge
from music.llm.settings import ClientSettings
from music.registry import ORACLE, SANDBOX
from music.reward.functions import RewardFunction, load_reward, require_reward
from music_envs.best_of_n.config import BestOfNEvaluationConfig, BestOfNMode
from music_envs.best_of_n.strategies import Strategy, make_strategy
from music_envs.players import PlayerOptions, read_player_options
from music_envs.prompts import load_prompts
from music_envs.scoring import load_growing_reward

__all__ = ["CheckedArguments", "check_arguments", "load_seeds", "load_selector"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedArguments:
    """The arguments of an evaluation, as they are used.

    Attributes:
        judge: Name of the judge; None without one.
        judge_endpoint: The judge's endpoint if it is a language model that compares.
        strategy: The strategy, with its options.
        players: Request options of the players.
    """

    judge: str | None
    judge_endpoint: str | None
    strategy: Strategy
    players: dict[str, PlayerOptions]

    @property
    def grader(self) -> str | None:
        """The judge's name if it is a reward that grades."""
        return None if self.judge_endpoint else self.judge


def check_arguments(
    config: BestOfNEvaluationConfig, options: Sequence[str], client: ClientSettings
) -> CheckedArguments:
    """Check all arguments of an evaluation; no model is loaded.

    Args:
        config: Settings of the evaluation.
        options: Request options of the players.
        client: Settings of the players' endpoints.

    Raises:
        InvalidInputError: An argument or an option cannot be read, or does not fit the others.
    """
    _check_output(config)
    judge, endpoint = _read_judge(config)
    strategy_options = {name: getattr(config, name) for name in ("width", "margin", "token_budget", "round_size")}
    strategy = make_strategy(config.mode, strategy_options)
    for name in filter(None, (*config.selectors, None if endpoint else judge)):
        require_reward(name)
    sampling = {"temperature": config.temperature, "max_tokens": config.max_reply_tokens}
    players = read_player_options(options, client, **sampling)
    return CheckedArguments(judge=judge, judge_endpoint=endpoint, strategy=strategy, players=players)


def _check_output(config: BestOfNEvaluationConfig) -> None:
    if config.out is not None:
        require_output_folder(config.out)
    if config.distil and config.out is None:
        raise InvalidInputError("--distil: expected --out too, the folder for the training sets")
    if config.distil_margin is not None and not config.distil:
        raise InvalidInputError("--distil-margin: expected --distil too")


def _read_judge(config: BestOfNEvaluationConfig) -> tuple[str | None, str | None]:
    """Return the judge, by default the sandbox's oracle in the sandbox, and its endpoint if it compares."""
    is_in_sandbox = config.user.partition(":")[0] == SANDBOX and config.seeds == SANDBOX
    judge = config.judge or (ORACLE if is_in_sandbox else None)
    found = read_judge(judge) if judge else None
    if found and config.baseline is None:
        raise InvalidInputError(f"--judge {judge}: expected --baseline too, as this judge compares two selectors")
    return judge, found[1] if found else None


def load_seeds(config: BestOfNEvaluationConfig, note: Callable[[str], None]) -> tuple[Conversation, ...]:
    """Load the seeds, and report if there are fewer than requested."""
    seeds = load_prompts(config.seeds, config.num_conversations, config.sizes.seed)
    if len(seeds) < config.num_conversations:
        note(f"{config.num_conversations} conversations requested; {config.seeds} has {len(seeds)} prompts")
    return seeds


def load_selector(name: str, mode: BestOfNMode, note: Callable[[str], None]) -> RewardFunction:
    """Load a selector and score an empty list, which finds an unusable server before replies are paid for."""
    # Mode whole scores every conversation once; all other modes score it repeatedly as it grows.
    reward = load_reward(name) if mode is BestOfNMode.WHOLE else load_growing_reward(name)
    description = getattr(reward, "description", "")
    note(f"selector {name}{': ' if description else ''}{description}")
    reward([])
    return reward
