"""Roles: who speaks in a rollout.

- `role`: what a role is, what it may know and say; `asking`: how it asks a model, again if need be.
- `user`, with the `user_gates` that its messages must pass, and the `shared_script`; `assistant`.
"""

from music_agents.roles.asking import Answer, ask
from music_agents.roles.assistant import AssistantRole
from music_agents.roles.role import MAX_ATTEMPTS, Role, Roles, RoleTurn, RoleView, Side
from music_agents.roles.shared_script import SharedScript
from music_agents.roles.user import UserRole
from music_agents.roles.user_gates import DEFAULT_USER_GATES, UserGate

__all__ = ["MAX_ATTEMPTS", "Role", "RoleTurn", "RoleView", "Roles", "Side"]
__all__ += ["DEFAULT_USER_GATES", "AssistantRole", "SharedScript", "UserGate", "UserRole"]
__all__ += ["Answer", "ask"]
