"""Roles: who speaks in a rollout.

- `role`: what a role is, what it may know and say; `asking`: how it asks a model, again if need be.
- `user`, with the `user_gates` that its messages must pass, and the `shared_script`; `assistant`.
"""

from music_agents.roles.model_roles import Answer, AssistantRole, SharedScript, UserRole, ask
from music_agents.roles.speaker import MAX_ATTEMPTS, Roles, RoleTurn, RoleView, Side, Speaker
from music_agents.roles.user_gates import DEFAULT_USER_GATES, UserGate

__all__ = ["MAX_ATTEMPTS", "RoleTurn", "RoleView", "Roles", "Side", "Speaker"]
__all__ += ["DEFAULT_USER_GATES", "AssistantRole", "SharedScript", "UserGate", "UserRole"]
__all__ += ["Answer", "ask"]
