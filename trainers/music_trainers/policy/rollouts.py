"""Rollouts: a policy plays episodes of a `ChatVectorEnv`, and every token keeps its turn and its author.

- `roll_out`: episodes as `Trajectory`s; `EpisodeRules`: when they end early, and the reward of replies without a score.
"""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from music.conversation import Conversation, StopReason
from music_envs import ChatVectorEnv
from music_envs.credit import USER
from music_trainers.policy.chat_tokens import ChatTokens

__all__ = ["PLAY_ON", "UNSCORABLE", "EpisodeRules", "Generate", "Trajectory", "roll_out"]

BATCH_SHARE = 0.25
"""Share of the users who have not answered that an asynchronous batch waits for before it generates replies again."""
UNSCORABLE = -sys.float_info.max
"""The score of a conversation that cannot be scored, as environments need a number. `roll_out` replaces it."""

Generate = Callable[[Sequence[Sequence[int]]], list[list[int]]]
"""A function from prompts to replies, as token ids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeRules:
    """When episodes end early, and how replies are rewarded.

    Attributes:
        max_prompt_tokens: Most tokens that the policy reads before a reply. An episode whose next prompt has more ends,
            and its last reward counts. None for no limit.
        floor: Reward of a reply that is blank or cannot be scored; it ends the episode. None for the lowest score of
            the batch, so that such a reply is never better than another one.
        is_terminal: Whether only the last reply of an episode is rewarded.
        is_asynchronous: Whether episodes do not wait for the users of others.
        min_finished: Share of the episodes with which an asynchronous batch ends. The last replies of the others are
            dropped, so that no reply is older than the weights that learn from it.
        on_begin: Called before the episodes of a batch begin.
    """

    max_prompt_tokens: int | None = None
    floor: float | None = None
    is_terminal: bool = False
    is_asynchronous: bool = False
    min_finished: float = 1.0
    on_begin: Callable[[], None] = lambda: None


PLAY_ON = EpisodeRules()
"""Episodes end as their environment decides."""


@dataclass(slots=True)
class Trajectory:
    """One episode as tokens.

    Attributes:
        prompt_ids: The tokens that the policy read before its first reply.
        completion_ids: All later tokens: its replies, and the user's messages between them.
        turns: For each completion token, the turn of the reply that it belongs to, from 0, or `USER`.
        rewards: The reward of each turn; NaN for a turn with an error, from which nothing is learned.
        conversation: The text, without a blank reply.
        is_over: Whether the episode has ended.
        is_unscorable: Whether it ended with a reply that is blank or cannot be scored.
        is_late: Whether the batch ended before it did; its last reply has no reward.
        is_full: Whether it ended because the next prompt would be too long for the policy or the reward.
        num_cut: Replies that were cut at the largest number of tokens.
        num_blank: Replies without text.
        error: What ended the episode, if an error did.
    """

    prompt_ids: list[int]
    conversation: Conversation
    completion_ids: list[int] = field(default_factory=list)
    turns: list[int] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    is_over: bool = False
    is_unscorable: bool = False
    is_late: bool = False
    is_full: bool = False
    num_cut: int = 0
    num_blank: int = 0
    error: str = ""

    def add_reply(self, reply: list[int], tokens: ChatTokens) -> str:
        """Add the policy's reply and return its text; a cut reply gets an end token that is not the policy's.

        A blank reply ends the episode.
        """
        self._write(reply, len(self.rewards))
        if reply[-1] not in tokens.end_ids:
            self.num_cut += 1
            self._write([tokens.closing_id], USER)
        text = tokens.text(reply)
        if not text:
            self.num_blank += 1
            self.end_unscorable()
        return text

    def add_outcome(
        self,
        conversation: Conversation,
        reward: float,
        is_over: bool,
        tokens: ChatTokens,
        max_prompt_tokens: int | None = None,
    ) -> None:
        """Add the reward of the reply and, unless the episode is over, the user's next message if there is room."""
        self.conversation, self.is_over = conversation, is_over
        if reward == UNSCORABLE:
            self.end_unscorable()
            return
        self.rewards.append(reward)
        message = [] if is_over else tokens.between(conversation.messages[-1].content)
        length = len(self.prompt_ids) + len(self.completion_ids) + len(message)
        if not is_over and max_prompt_tokens is not None and length > max_prompt_tokens:
            self.is_over = self.is_full = True
        if self.is_full:
            self.conversation = conversation.prefix(conversation.turn_ends[-1])
        else:
            self._write(message, USER)

    def end_unscorable(self) -> None:
        """End the episode with a reply that has no score; `roll_out` gives it the floor."""
        self.rewards.append(math.nan)
        self.is_over = self.is_unscorable = True

    def end_late(self) -> None:
        """End the episode while its user has not answered."""
        self.rewards.append(math.nan)
        self.is_over = self.is_late = True

    def fail(self, error: str, tokens: ChatTokens) -> None:
        """End the episode before its first reply. Its completion is not empty, as trainers need a token."""
        self.error, self.is_over = error, True
        self.rewards.append(math.nan)
        self._write([tokens.closing_id], USER)

    def _write(self, ids: list[int], turn: int) -> None:
        self.completion_ids += ids
        self.turns += [turn] * len(ids)


def roll_out(
    env: ChatVectorEnv,
    tokens: ChatTokens,
    generate: Generate,
    seeds: Sequence[int],
    rules: EpisodeRules = PLAY_ON,
) -> list[Trajectory]:
    """Play one episode in each environment.

    Args:
        env: One environment per seed, with a reward after every turn. Equal seeds have equal users.
        tokens: The policy's chat template.
        generate: The policy.
        seeds: Seeds of the episodes.
        rules: When episodes end early, and the reward of replies without a score.

    Raises:
        EndpointError, RoleFailedError: A user gave no first message.
    """
    rules.on_begin()
    observations, _ = env.reset(seed=list(seeds))
    played = [Trajectory(tokens.opening(conversation), conversation) for conversation in observations]
    for each in played:
        if rules.max_prompt_tokens is not None and len(each.prompt_ids) > rules.max_prompt_tokens:
            wanted = f"at most {rules.max_prompt_tokens} tokens, which leave room for a reply"
            each.fail(f"expected an opening of {wanted}, got {len(each.prompt_ids)}", tokens)
    lowest, pending = math.inf, set[int]()
    while not _is_done(played, rules):
        ready = [i for i, each in enumerate(played) if not (each.is_over or i in pending)]
        replies = generate([played[i].prompt_ids + played[i].completion_ids for i in ready]) if ready else []
        texts = {i: played[i].add_reply(reply, tokens) for i, reply in zip(ready, replies, strict=True)}
        actions = {i: text for i, text in texts.items() if text}
        pending |= actions.keys()
        if pending:
            answered, results = _exchange(env, actions, len(pending), rules)
            pending -= set(answered)
            lowest = min(lowest, _add_outcomes([played[i] for i in answered], results, tokens, rules))
    for i in pending:
        played[i].end_late()
    _settle(played, rules, lowest)
    return played


def _is_done(played: Sequence[Trajectory], rules: EpisodeRules) -> bool:
    return sum(each.is_over for each in played) >= math.ceil(rules.min_finished * len(played))


def _exchange(
    env: ChatVectorEnv, actions: Mapping[int, str], num_pending: int, rules: EpisodeRules
) -> tuple[list[int], Any]:
    """Send replies, and return what users have answered: the environments, and what `env.step` returns, by row."""
    if len(actions) == env.num_envs and not rules.is_asynchronous:
        return list(actions), env.step(list(actions.values()))
    if actions:
        env.send(actions)
    # Replies to several users are generated at once, in one batch.
    at_least = math.ceil(num_pending * (BATCH_SHARE if rules.is_asynchronous else 1))
    indices, *results = env.recv(at_least)
    return indices.tolist(), results


def _add_outcomes(rows: Sequence[Trajectory], results: Any, tokens: ChatTokens, rules: EpisodeRules) -> float:
    """Add the results of a step to its episodes, and return the lowest of their scores."""
    observations, rewards, terminated, truncated, infos = results
    scores = [math.inf]
    for i, trajectory in enumerate(rows):
        reward = math.nan if truncated[i] else float(rewards[i])
        trajectory.error = infos["error"][i] if truncated[i] else ""
        trajectory.is_full = infos["stop_reason"][i] is StopReason.CONTEXT_FULL
        is_over = bool(terminated[i] or truncated[i])
        trajectory.add_outcome(observations[i], reward, is_over, tokens, rules.max_prompt_tokens)
        if not trajectory.is_unscorable and "score" in infos and infos["_score"][i]:
            scores.append(float(infos["score"][i]))
    return min(scores)


def _settle(played: Sequence[Trajectory], rules: EpisodeRules, lowest: float) -> None:
    """Give replies without a score the floor; with a terminal reward, drop those of earlier replies."""
    floor = lowest if rules.floor is None else rules.floor
    for trajectory in played:
        if trajectory.is_unscorable and math.isfinite(floor):
            trajectory.rewards[-1] = floor
        elif trajectory.is_unscorable:
            trajectory.error = "no reply has a score: all are blank or cannot be scored"
        if rules.is_terminal:
            earlier = math.nan if math.isnan(trajectory.rewards[-1]) else 0.0
            trajectory.rewards[:-1] = [earlier] * (len(trajectory.rewards) - 1)
