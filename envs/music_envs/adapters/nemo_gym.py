"""NeMo Gym: `ChatServer`, a resources server in which the world's user answers every reply of `gymnasium_agent`."""

from typing import Any, ClassVar

from fastapi import Request
from nemo_gym.openai_utils import NeMoGymResponse, NeMoGymResponseCreateParamsNonStreaming
from nemo_gym.server_utils import SESSION_ID_KEY
from resources_servers.gymnasium import EnvResetRequest, EnvResetResponse, GymnasiumServer, extract_text

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.reward.tokens.queries import as_prompt
from music.seeding import derive_seed
from music_envs.adapters.turns import take_turn
from music_envs.chat.episode import Episode
from music_envs.chat.validation import require_running
from music_envs.chat.world import ChatWorld

__all__ = ["ChatServer"]


class ChatServer(GymnasiumServer):  # type: ignore[misc]  # no types
    """Conversations with a user, one per session. Set the class attributes in a class of your own, and run it.

    The prompt is the row's `responses_create_params`. The agent adds up the rewards of the replies, and returns the
    last `info`: the whole conversation in order (`messages`), the reward of each reply (`turn_rewards`), how it ended
    (`stop_reason`, `error`, `is_unscorable`), and who the user was (`persona`, `user`, `usage`).

    A reply that cannot be scored ends the conversation with the floor. If the user fails, the last reply is rewarded as
    if the conversation had been meant to end there. Both are `truncated`.

    Attributes:
        world: The user and the reward, with the arguments of `ChatEnv`; you close it.
        floor: The score of a conversation whose last reply is blank, cut off or cannot be scored; below all real
            scores.
        max_tokens: Tokens of one reply at most: the rows' `max_output_tokens`.
        context_length: Tokens of the policy's context. A conversation ends once another reply would not fit.
        seed: Seed of the users. Equal prompts meet the same persona with the same seed.
    """

    world: ClassVar[ChatWorld]
    floor: ClassVar[float]
    max_tokens: ClassVar[int]
    context_length: ClassVar[int]
    seed: ClassVar[int] = 0

    async def _reset_endpoint(self, body: EnvResetRequest, request: Request) -> EnvResetResponse:
        """Start a session from its row's prompt, which `reset` is not given.

        Raises:
            InvalidInputError: The prompt cannot be read, or does not end with the user.
        """
        prompt = _prompt_of(body.responses_create_params)
        episode = self.world.take_up(prompt, derive_seed(self.seed, prompt))
        self.session_state[request.session[SESSION_ID_KEY]] = (episode, [])
        return EnvResetResponse(info=episode.info)

    async def step(
        self, action: NeMoGymResponse, metadata: dict[str, Any], session_id: str | None = None
    ) -> tuple[str | None, float, bool, bool, dict[str, Any]]:
        """Add a reply and the user's answer, and reward it.

        Raises:
            InvalidInputError: The model server does not report the tokens of its reply.
            ResetNeeded: The session has no conversation that is running.
        """
        before, rewards = self.session_state.get(session_id, (None, []))
        if action.usage is None:
            raise InvalidInputError("expected a response with its `usage`, which bounds the context, got none")
        num_left = self.context_length - action.usage.total_tokens - self.max_tokens
        turn = await take_turn(
            self.world,
            require_running(before),
            extract_text(action).strip(),
            floor=self.floor,
            is_cut=action.incomplete_details is not None,
            fits=lambda answer: len(answer.encode()) <= num_left,  # a token has at least one byte
        )
        rewards = [*rewards, turn.reward]
        self.session_state[session_id] = (turn.episode, rewards)
        is_truncated = turn.episode.is_truncated
        info = _info_of(turn.episode, rewards) | {"is_unscorable": turn.is_unscorable}
        return turn.answer, turn.reward, turn.answer is None and not is_truncated, is_truncated, info


def _prompt_of(parameters: NeMoGymResponseCreateParamsNonStreaming) -> Conversation:
    asked = parameters.input
    messages = [{"role": "user", "content": asked}] if isinstance(asked, str) else list(asked)
    system = [{"role": "system", "content": parameters.instructions}] if parameters.instructions else []
    return as_prompt(system + messages)


def _info_of(episode: Episode, rewards: list[float]) -> dict[str, Any]:
    return episode.info | {"messages": episode.conversation.to_messages(), "turn_rewards": rewards}
