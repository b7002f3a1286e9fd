"""`music/Chat-v0`: one conversation as a Gymnasium environment. The agent plays the assistant."""

from typing import Any

import gymnasium

from music.aio import run_in_background
from music.conversation import Conversation
from music_envs.chat.context import Fits
from music_envs.chat.episode import ChatSnapshot, Episode, transcript
from music_envs.chat.validation import (
    NO_CONTEXT,
    IsDone,
    PersonasLike,
    RewardLike,
    SeedsLike,
    UserLike,
    generator_for,
    plain_seed,
    refuses_unknown_arguments,
    require_action,
    require_begun,
    require_render_mode,
    require_running,
)
from music_envs.chat.world import ChatWorld, RewardMode
from music_envs.spaces import ConversationSpace, ReplySpace

__all__ = ["ChatEnv"]


class ChatEnv(gymnasium.Env[Conversation, str]):
    """A conversation with a simulated user, rewarded as a whole.

    ## Description
    The agent plays the assistant of a chat. A language model (or any role of `music_agents`) plays the user, who reads
    every reply and answers it. After `num_turns` replies a reward model judges the whole conversation, as in the
    multi-turn Best-of-N of the MUSIC paper (arXiv 2512.24693, H turns).

    ## Action Space
    `ReplySpace`: the assistant's next message, a string that is not blank.

    ## Observation Space
    `ConversationSpace`: the immutable `Conversation` so far. It ends with the user's latest message, and in the last
    observation of an episode with the last reply.

    ## Rewards
    All rewards come from scores of the conversation up to its last reply. The `reward_mode` is one of:
    - `terminal`: 0 before the end, and the score at the end (the paper's).
    - `per_turn`: after every reply, the score of the conversation so far.
    - `difference`: after every reply, what it added to the score, which is 0 before the first reply. The rewards of an
      episode add up to the terminal reward.

    A step that an error cuts short has the reward 0, `truncated` and the stop reason `error`; do not learn from it.

    ## Starting State
    One of `seeds`, drawn by the environment's generator, or number `options["seed_index"]`. If the seed does not end
    with a user message, the user writes one first. `reset(seed=...)` fixes the draws and all of the user's sampling.
    A `reset` that raises draws nothing. `snapshot` and `restore` return to any earlier state.

    ## Episode End
    - `terminated`: the task is over and rewarded. Either `num_turns` replies were given (stop reason `turn_limit`; the
      horizon is part of the task, so bootstrap no value beyond it), or `is_done` returned true after a user message
      (`user_done`), or another reply as long as the longest one would not fit into the context of the reward model or
      of the policy (`context_full`).
    - `truncated`: the user failed permanently (`error`). A wrapper such as `TimeLimit` may truncate as well; prefer
      `num_turns`, because a wrapper truncates without the reward.

    ## Information
    Always `seed_index`, `turn` (replies so far), `user` (the user's name), `persona` (its, or None) and
    `usage` (`num_calls`, `prompt_tokens` and `completion_tokens` of the user's calls). In every step `stop_reason`
    (None while the episode continues); `score` if the conversation was scored; `num_cut` if messages of the user were
    cut at a limit of tokens, which are used as they are; `error` (text) after an error.

    ## Version History
    - v0: initial version.

    Args:
        num_turns: Replies per episode (the paper's H), at least 1.
        user: Plays the user: an endpoint as text (`sandbox`, `MODEL@BASE_URL`), which the environment opens and closes;
            or a `ChatModel` or role, which you close. They run on a background event loop of this process.
        reward: A callable from conversations to scores, or its name for `music.reward.load_reward` (`oracle`, `length`,
            the path of a reward model, `MODEL@BASE_URL` for one behind a server).
        reward_mode: See Rewards.
        seeds: The contexts to start from: conversations, or `sandbox`, or a preference file, folder or hub id, for the
            prompts of its pairs. By default one empty conversation, which the user opens.
        personas: Define the users, one drawn per episode: personas, or a file of them. By default users have none.
        is_done: Whether a conversation ends after a user message. By default never.
        fits: Whether conversations fit into the policy's context, such as `ModelPolicy.fits`. The limit of a reward
            model counts in any case.
        render_mode: None or `ansi` for a transcript.

    Raises:
        TypeError: There is no such argument; the error names the nearest one.
        InvalidInputError: An argument has a wrong value.

    Example:
        >>> import gymnasium
        >>> import music_envs  # registers the environment
        >>> env = gymnasium.make("music/Chat-v0", num_turns=1)
        >>> conversation, info = env.reset(seed=0)
        >>> conversation, reward, terminated, truncated, info = env.step("Let us begin with what you have.")
        >>> terminated, reward == info["score"]
        (True, True)
        >>> env.close()
    """

    metadata = gymnasium.Env.metadata | {"render_modes": ["ansi"], "render_fps": 1}

    @refuses_unknown_arguments
    def __init__(
        self,
        *,
        num_turns: int = 3,
        user: UserLike = "sandbox",
        reward: RewardLike = "oracle",
        reward_mode: RewardMode = "terminal",
        seeds: SeedsLike = NO_CONTEXT,
        personas: PersonasLike = (),
        is_done: IsDone = None,
        fits: Fits | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.observation_space = ConversationSpace()
        self.action_space = ReplySpace()
        self.render_mode = require_render_mode(render_mode)
        self._world = ChatWorld(
            num_turns=num_turns,
            user=user,
            reward=reward,
            reward_mode=reward_mode,
            seeds=seeds,
            personas=personas,
            is_done=is_done,
            fits=fits,
        )
        self._episode: Episode | None = None

    @property
    def reward_mode(self) -> RewardMode:
        """How steps are rewarded; see Rewards."""
        return self._world.reward_mode

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Conversation, dict[str, Any]]:
        """Start an episode.

        Raises:
            InvalidInputError: `options["seed_index"]` is not the index of a seed, or there are other options.
            EndpointError, RoleFailedError: The user gave no first message. No episode runs then, and the generator is
                unchanged: the same call begins the same episode when it is retried.
        """
        seed_index, generator = self._world.seed_index_of(options), generator_for(seed, self.np_random)
        self._episode = None
        self._episode = run_in_background(self._world.begin(generator, seed_index))
        super().reset(seed=plain_seed(seed))
        self.np_random.bit_generator.state = generator.bit_generator.state
        return self._episode.conversation, self._episode.info

    def step(self, action: str) -> tuple[Conversation, float, bool, bool, dict[str, Any]]:
        """Reply to the user.

        Raises:
            InvalidInputError: The action is not a reply (the episode is unchanged), or a score is not finite.
            ResetNeeded: No episode is running.
        """
        before = require_running(self._episode)
        require_action(action)
        after = run_in_background(self._world.reply(before, action))
        (reward,), (after,) = self._world.reward([before], [after])
        self._episode = after  # only now: a step that raises leaves the episode unchanged
        return after.conversation, reward, after.is_terminated, after.is_truncated, after.info

    def snapshot(self) -> ChatSnapshot:
        """Return the state of the environment: its episode and its generator; see `restore`."""
        return ChatSnapshot(episode=self._episode, generator=self.np_random.bit_generator.state)

    def restore(self, snapshot: ChatSnapshot) -> tuple[Conversation, dict[str, Any]]:
        """Return to a snapshot, of this environment or of one with the same arguments.

        The same replies then give the same episode, if the user's endpoint answers equal requests alike.

        Returns:
            The observation and the info of that state.

        Raises:
            ResetNeeded: The snapshot was taken before the first reset.
            InvalidInputError: The argument is not a snapshot.
        """
        episode = require_begun(snapshot)
        self.np_random.bit_generator.state = snapshot.generator
        self._episode = episode
        return episode.conversation, episode.info

    def render(self) -> str | None:
        """Return a transcript in the `ansi` mode."""
        if self.render_mode != "ansi":
            return None
        return transcript(self._episode.conversation) if self._episode else ""

    def close(self) -> None:
        """Close the environment, and the user's endpoint if it was opened here; closing again does nothing."""
        run_in_background(self._world.aclose())
