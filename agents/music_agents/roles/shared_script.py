"""A script that both users share: the rejected side repeats the utterances of the chosen one."""

from dataclasses import dataclass

from music.pairs import Usage
from music_agents.failures import RoleFailedError
from music_agents.roles.role import Role, RoleTurn, RoleView

__all__ = ["SharedScript"]


@dataclass(frozen=True, slots=True)
class SharedScript:
    """A user who says the same on both sides, whatever the rejected side replies.

    It halves the calls for the user, and the two sides of a pair then differ in the assistant's turns alone. The price
    is that the user no longer reacts to the rejected replies.

    Attributes:
        user: Writes the messages, in the light of the chosen side.
    """

    user: Role

    async def __call__(self, view: RoleView) -> RoleTurn:
        """Write the chosen side's next message, or repeat it on the rejected side.

        Raises:
            RoleFailedError: As the user does; or the chosen side has not come to this turn.
        """
        if view.side == "chosen":
            return await self.user(view)
        place = len(view.conversation.messages)
        if place >= len(view.other.messages):
            raise RoleFailedError("a shared script needs the user of the chosen side to speak first in every turn")
        return RoleTurn(text=view.other.messages[place].content, usage=Usage())
