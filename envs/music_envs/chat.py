"""`music/Chat-v0`: one conversation as a Gymnasium environment. The agent is the assistant; the world is the user."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import gymnasium
from gymnasium.error import ResetNeeded

from music.conversation import Conversation, StopReason
from music.errors import InvalidInputError
from music.llm.chat import ChatModel, EndpointError
from music.llm.endpoints import open_model
from music.reward.functions import RewardFunction, open_reward
from music_agents.failures import RoleFailedError
from music_agents.roles import Role, RoleTurn, RoleView
from music_envs.background import run_in_background
from music_envs.players import as_user, view
from music_envs.scoring import checked_scores
from music_envs.spaces import ConversationSpace, ReplySpace

__all__ = ["ChatEnv"]


class ChatEnv(gymnasium.Env[Conversation, str]):
    """A conversation with a simulated user, rewarded as a whole.

    ## Description
    The agent plays the assistant of a chat; a language model (or any role of `music_agents`) plays the user, who reads
    every reply and goes on from there. After `num_turns` replies a reward model judges the whole conversation, as in
    the multi-turn Best-of-N of the MUSIC paper (arXiv 2512.24693, H turns).

    ## Action Space
    `ReplySpace`: the assistant's next message, a string that is not blank.

    ## Observation Space
    `ConversationSpace`: the immutable `Conversation` so far. It ends with the user's latest message, which is to be
    answered, and in the last observation of an episode with the last reply.

    ## Rewards
    0 before the end, and at the end the score, by `reward`, of the conversation up to its last reply. An episode that
    is cut short by an error has no reward: it gets 0, `truncated` and the stop reason `error`; do not learn from it.

    ## Starting State
    One of `seeds`, drawn by the environment's generator, or number `options["seed_index"]`. Where the seed does not end
    with a user message, the user writes one first. `reset(seed=...)` fixes the draw and all of the user's sampling.

    ## Episode End
    - `terminated`: the task is over, and its reward paid: `num_turns` replies were given (stop reason `turn_limit`; the
      horizon is part of the task, and no value should be bootstrapped beyond it), or `is_done` said that the user's
      last message ends the conversation (`user_done`).
    - `truncated`: the user failed for good (`error`). A wrapper such as `TimeLimit` may truncate as well; prefer
      `num_turns`, since a wrapper's cut comes without the reward.

    ## Information
    `seed_index` and `turn` (replies so far) always; `stop_reason` (None while the episode goes on) in every step;
    `score` at a rewarded end; `error` (text) after an error.

    ## Arguments
    ```python
    import gymnasium
    import music_envs  # registers the environment

    env = gymnasium.make("music/Chat-v0", num_turns=3)
    ```
    - `num_turns`: replies per episode (the paper's H), at least 1.
    - `user`: who plays the user: an endpoint as text (`sandbox`, `MODEL@BASE_URL`), which the environment opens and
      closes; or a `ChatModel` or role, which stay yours. They run on a background event loop of this process.
    - `reward`: a callable from conversations to scores, or its name for `music.reward.open_reward` (`oracle`, `length`,
      the path of a reward model).
    - `seeds`: the contexts to start from. Default: one empty conversation, which the user opens.
    - `is_done`: given the conversation after a user message, whether that message ends it. Default: never.
    - `render_mode`: None or `ansi`, a transcript.

    ## Version History
    - v0: initial version.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012  # Gymnasium's own declaration

    def __init__(
        self,
        *,
        num_turns: int = 3,
        user: str | ChatModel | Role = "sandbox",
        reward: str | RewardFunction = "oracle",
        seeds: Sequence[Conversation] = (Conversation(),),
        is_done: Callable[[Conversation], bool] | None = None,
        render_mode: str | None = None,
    ) -> None:
        if num_turns < 1:
            raise InvalidInputError(f"expected num_turns of at least 1, got {num_turns}")
        if not seeds:
            raise InvalidInputError("expected at least one seed conversation, got none")
        self.observation_space = ConversationSpace()
        self.action_space = ReplySpace()
        self.render_mode = render_mode
        self._num_turns = num_turns
        player = open_model(user) if isinstance(user, str) else user
        self._own_model = cast(ChatModel, player) if isinstance(user, str) else None
        self._user = as_user(player)
        self._reward = open_reward(reward) if isinstance(reward, str) else reward
        self._seeds = tuple(seeds)
        self._is_done = is_done
        self._conversation = Conversation()
        self._seed_index = self._turn = self._episode_seed = 0
        self._running = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Conversation, dict[str, Any]]:
        """Start an episode.

        Raises:
            InvalidInputError: `options["seed_index"]` is not the index of a seed.
            EndpointError, RoleFailedError: The user gave no first message.
        """
        super().reset(seed=seed)
        self._running = False
        self._seed_index = self._pick_seed(options or {})
        self._episode_seed, self._turn = int(self.np_random.integers(2**31)), 0
        self._conversation = self._seeds[self._seed_index]
        if self._conversation.next_role == "user":
            self._hear_user()
        self._running = True
        return self._conversation, self._info()

    def step(self, action: str) -> tuple[Conversation, float, bool, bool, dict[str, Any]]:
        """Reply to the user.

        Raises:
            InvalidInputError: The action is not a reply (the episode goes on unharmed), or a score is not finite.
            ResetNeeded: No episode is running.
        """
        if not self._running:
            raise ResetNeeded("the episode is over or never began: call reset() before step()")
        if action not in self.action_space:
            raise InvalidInputError(_unfit(action))
        self._running = False  # unless the turn is completed: after an interrupted one only reset() makes sense
        self._conversation = self._conversation.assistant(action)
        self._turn += 1
        stop, error = self._continue()
        self._running = stop is None
        info = self._info() | {"stop_reason": stop}
        if stop is StopReason.ERROR:
            return self._conversation, 0.0, False, True, info | {"error": error}
        if stop is None:
            return self._conversation, 0.0, False, False, info
        score = self._score()
        return self._conversation, score, True, False, info | {"score": score}

    def render(self) -> str | None:
        """Return a transcript in the `ansi` mode."""
        if self.render_mode != "ansi":
            return None
        return "\n\n".join(f"{message.role}: {message.content}" for message in self._conversation.messages)

    def close(self) -> None:
        """Close the user's endpoint if the environment opened it; closing again is fine."""
        if self._own_model is not None:
            run_in_background(self._own_model.aclose())
            self._own_model = None

    def _pick_seed(self, options: dict[str, Any]) -> int:
        """Return the index of the episode's seed."""
        if "seed_index" not in options:
            return int(self.np_random.integers(len(self._seeds)))
        index = options["seed_index"]
        if not isinstance(index, int) or not 0 <= index < len(self._seeds):
            raise InvalidInputError(f"expected a seed_index from 0 to {len(self._seeds) - 1}, got {index!r}")
        return index

    def _continue(self) -> tuple[StopReason | None, str]:
        """Let the user go on, and say why the episode ends if it does."""
        if self._turn >= self._num_turns:
            return StopReason.TURN_LIMIT, ""
        try:
            self._hear_user()
        except (EndpointError, RoleFailedError) as error:
            return StopReason.ERROR, str(error)
        return (StopReason.USER_DONE if self._is_done and self._is_done(self._conversation) else None), ""

    def _hear_user(self) -> None:
        """Append the user's next message."""
        index, seed = self._seed_index, self._episode_seed
        seen = view(self._conversation, "user", turn=self._turn, num_turns=self._num_turns, index=index, seed=seed)
        self._conversation = self._conversation.user(run_in_background(_speak(self._user, seen)).text)

    def _score(self) -> float:
        """Score the conversation up to its last reply."""
        judged = self._conversation.prefix(self._conversation.turn_ends[-1])
        return checked_scores(self._reward, [judged])[0]

    def _info(self) -> dict[str, Any]:
        """Return what every call reports."""
        return {"seed_index": self._seed_index, "turn": self._turn}


async def _speak(role: Role, seen: RoleView) -> RoleTurn:
    """Await a role, which may return any awaitable, as the coroutine that the background loop wants."""
    return await role(seen)


def _unfit(action: object) -> str:
    """Say what is wrong with an action."""
    if not isinstance(action, str):
        return f"expected the reply as a string, got {type(action).__name__}"
    return "expected a reply with some text, got a blank one" if not action.strip() else "the reply is too long"
