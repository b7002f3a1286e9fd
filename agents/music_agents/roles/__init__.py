"""Roles: who speaks in a rollout.

- `speaker`: the protocol `Speaker`, its view and its turn, and the `RoleSet` of a pair.
- `model_roles`: the user and the assistant played by models, and `ask`.
- `user_gates`: checks of a user's message; `speech`: who seems to speak in a message.
"""

from music_agents.roles.model_roles import Answer, AssistantRole, SharedScript, UserRole, ask
from music_agents.roles.speaker import MAX_ATTEMPTS, RoleSet, RoleTurn, RoleView, Side, Speaker
from music_agents.roles.user_gates import DEFAULT_USER_GATES, UserGate

__all__ = ["MAX_ATTEMPTS", "RoleSet", "RoleTurn", "RoleView", "Side", "Speaker"]
__all__ += ["DEFAULT_USER_GATES", "Answer", "AssistantRole", "SharedScript", "UserGate", "UserRole", "ask"]
