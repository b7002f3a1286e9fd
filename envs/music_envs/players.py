"""The two players of a conversation, as roles of `music_agents`: given as a role, or as a chat model to play it."""

from typing import Literal, TypeAlias, cast

from music.conversation import Conversation
from music.llm.chat import ChatModel
from music_agents.personas import Persona
from music_agents.roles import RoleView, Speaker
from music_agents.roles.model_roles import AssistantRole, UserRole

__all__ = ["Player", "as_assistant", "as_user", "view"]

Player: TypeAlias = Speaker | ChatModel


def as_user(player: Player) -> Speaker:
    """Return the player as a user; a model plays it through `UserRole`."""
    return UserRole(cast(ChatModel, player)) if hasattr(player, "complete") else player


def as_assistant(player: Player) -> Speaker:
    """Return the player as an assistant; a model plays it through `AssistantRole`."""
    return AssistantRole(cast(ChatModel, player)) if hasattr(player, "complete") else player


def view(
    conversation: Conversation,
    part: Literal["user", "assistant"],
    *,
    turn: int,
    num_turns: int,
    index: int,
    seed: int,
    persona: Persona | None = None,
) -> RoleView:
    """Return what a role may know when it speaks; `seed`, `index` (which conversation) and `turn` make its own seed."""
    return RoleView(
        conversation=conversation,
        side="chosen",
        part=part,
        turn=turn,
        num_turns=num_turns,
        pair=index,
        run_seed=seed,
        persona=persona,
    )
