"""The app that the tests of OpenEnv serve: what is said decides what fails."""

from functools import partial

from openenv.core.env_server import create_app

from music.conversation import Conversation
from music.llm.chat import EndpointUnavailableError
from music.pairs import Usage
from music.reward.tokens.contract import UnscorableError
from music_agents.roles import RoleTurn
from music_envs.adapters.openenv import ChatAction, ChatEnvironment, ChatObservation
from music_envs.chat.world import ChatWorld

SEEDS = [Conversation().user("Name a river."), Conversation().user("Name a tea.")]


async def user(view):
    heard = view.conversation.messages[-1].content
    if "Hang up" in heard:
        raise EndpointUnavailableError("user is down")
    return RoleTurn(text=f"{view.run_seed}: what of {heard}", usage=Usage())


def reward(conversations):
    """Count the characters of the replies."""
    replies = [[m.content for m in c.messages if m.role == "assistant"] for c in conversations]
    if any("endless" in reply for given in replies for reply in given):
        raise UnscorableError("over_long")
    if any("broken" in reply for given in replies for reply in given):
        raise ConnectionError("the reward server is gone")
    return [float(sum(map(len, given))) for given in replies]


world = ChatWorld(num_turns=3, user=user, reward=reward, reward_mode="difference", seeds=SEEDS)
app = create_app(partial(ChatEnvironment, world), ChatAction, ChatObservation, max_concurrent_envs=16)
