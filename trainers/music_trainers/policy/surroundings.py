"""`Surroundings`: what a policy meets in a run: the user, the reward, the judge, and the environments with them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from music.aio import run_in_background
from music.conversation import Conversation
from music.errors import InvalidInputError
from music.llm.chat import ChatModel
from music.llm.endpoints import load_model
from music.registry import ORACLE, SANDBOX
from music.reward.functions import RewardFunction, load_reward
from music.reward.model import RewardModel
from music_envs import ChatVectorEnv
from music_envs.chat.context import Fits, fits_of
from music_envs.scoring import scores_or_none
from music_trainers.policy.chat_tokens import ChatTokens
from music_trainers.policy.config import PolicyTrainingConfig
from music_trainers.policy.loading import LoadedPolicy
from music_trainers.policy.outages import Outages
from music_trainers.policy.rollouts import UNSCORABLE, EpisodeRules

__all__ = ["Surroundings"]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a policy meets.

    Attributes:
        training: One environment for each conversation of a step.
        held_out: One environment for each held-out conversation, with other prompts if there are prompts.
        judge: Grades held-out conversations; None for no judge.
        rules: When episodes end early.
    """

    training: ChatVectorEnv
    held_out: ChatVectorEnv
    judge: RewardFunction | None
    rules: EpisodeRules

    @classmethod
    @contextmanager
    def open(
        cls,
        config: PolicyTrainingConfig,
        policy: LoadedPolicy,
        prompts: Sequence[Conversation],
        report: Callable[[str], None],
    ) -> Iterator["Surroundings"]:
        """Load user, reward and judge once, and close them at the end of the block.

        Args:
            config: The settings.
            policy: The policy, which must be able to read the prompts.
            prompts: Beginnings of conversations; with none, the user writes the first message.
            report: Called with lines for people: prompts that are left out, servers that cannot be reached.

        Raises:
            InvalidInputError: One of them cannot be loaded, or too few prompts fit into the policy.
            OutageError: The reward server could not be reached.
        """
        outages = Outages(config.max_outage, report)
        is_in_sandbox = config.user.partition(":")[0] == SANDBOX and config.seeds in (None, SANDBOX)
        judge_name = config.judge or (ORACLE if is_in_sandbox else None)
        with ExitStack() as stack:
            own = _closed_by(stack, load_reward(config.reward))
            judge = _closed_by(stack, load_reward(judge_name)) if judge_name else None
            model = load_model(config.user)
            stack.callback(lambda: run_in_background(model.aclose()))
            reward = _TrainingReward(f"the reward {config.reward}", own, outages)
            user = outages.patient_model(f"the user {config.user}", model)
            rules = _rules(config, policy, reward.forget)
            training, held_out = (
                _environment(
                    config, user, reward, _fitting(part, policy.tokens, rules, report), is_held_out=is_held_out
                )
                for part, is_held_out in zip(_split(prompts), (False, True), strict=True)
            )
            yield cls(training, held_out, judge and outages.patient(f"the judge {judge_name}", judge), rules)


class _TrainingReward:
    """A reward as a run needs it: it waits out outages, scores growing conversations from a cache, and skips none.

    The prefix cache of a model in this process lasts for one batch of episodes. Cached scores equal others up to
    rounding only, and a resumed run must give the same scores as one that was never stopped.
    """

    def __init__(self, name: str, reward: RewardFunction, outages: Outages) -> None:
        self._reward = self._cached = reward
        self._score = outages.patient(name, lambda conversations: self._cached(conversations))
        limit = fits_of(reward)
        self.fits: Fits | None = limit and outages.patient(name, limit)

    def __call__(self, conversations: Sequence[Conversation]) -> list[float]:
        """Score conversations; those that cannot be scored get `UNSCORABLE`, so that the others keep their scores."""
        return [UNSCORABLE if score is None else score for score in scores_or_none(self._score, conversations)]

    def forget(self) -> None:
        """Begin a batch with an empty cache."""
        if isinstance(self._reward, RewardModel):
            self._cached = self._reward.with_prefix_cache(frozen=True)


def _closed_by(stack: ExitStack, reward: RewardFunction) -> RewardFunction:
    """Return a reward whose connections, if it has any, are closed with the stack."""
    close: Callable[[], None] | None = getattr(reward, "close", None)
    if close is not None:
        stack.callback(close)
    return reward


def _rules(config: PolicyTrainingConfig, policy: LoadedPolicy, on_begin: Callable[[], None]) -> EpisodeRules:
    """Return the rules: a prompt must leave room for a reply and its end token.

    Raises:
        InvalidInputError: A longest length is more than the policy can read, or leaves no room.
    """
    max_length, own = config.max_length or policy.max_length, policy.max_length
    if own is not None and max_length is not None and max_length > own:
        raise InvalidInputError(
            f"--max-length {max_length}: expected at most {own}, which is what {policy.name} can read"
        )
    max_prompt = None if max_length is None else max_length - config.max_reply_tokens - 1
    if max_prompt is not None and max_prompt < 1:
        raise InvalidInputError(
            f"--max-reply-tokens {config.max_reply_tokens}: expected fewer, as a conversation has at most {max_length} "
            "tokens with its prompt"
        )
    is_terminal = config.reward_mode == "terminal"
    return EpisodeRules(max_prompt_tokens=max_prompt, floor=config.floor, is_terminal=is_terminal, on_begin=on_begin)


def _split(prompts: Sequence[Conversation]) -> tuple[list[Conversation], list[Conversation]]:
    """Return the prompts of training and the held-out ones: every fifth.

    Raises:
        InvalidInputError: There is only one.
    """
    if len(prompts) == 1:
        raise InvalidInputError("--seeds: expected at least two prompts, as some are held out, got 1")
    return [each for i, each in enumerate(prompts) if i % 5], list(prompts[::5])


def _fitting(
    prompts: Sequence[Conversation], tokens: ChatTokens, rules: EpisodeRules, report: Callable[[str], None]
) -> list[Conversation]:
    """Return the prompts that leave room for a reply.

    Raises:
        InvalidInputError: There are prompts, and none fits.
    """
    most = rules.max_prompt_tokens
    if most is None:
        return list(prompts)
    kept = [each for each in prompts if each.next_role == "user" or len(tokens.opening(each)) <= most]
    left_out = f"{len(prompts) - len(kept)} of {len(prompts)} prompts have more than {most} tokens"
    if prompts and not kept:
        raise InvalidInputError(f"--seeds: expected prompts that leave room for a reply, but {left_out}")
    if len(kept) < len(prompts):
        report(f"{left_out}: left out, as there is no room for a reply")
    return kept


def _environment(
    config: PolicyTrainingConfig,
    user: ChatModel,
    reward: RewardFunction,
    prompts: Sequence[Conversation],
    *,
    is_held_out: bool,
) -> ChatVectorEnv:
    """Make the environments of training or of the held-out episodes. Every reply is scored; `EpisodeRules` decide."""
    personas = (config.eval_personas or config.personas) if is_held_out else config.personas
    arguments: dict[str, Any] = {} if personas is None else {"personas": personas}
    if prompts:
        arguments["seeds"] = prompts
    return ChatVectorEnv(
        config.num_evaluations if is_held_out else config.num_episodes,
        num_turns=config.num_turns,
        user=user,
        reward=reward,
        reward_mode="per_turn",
        **arguments,
    )
