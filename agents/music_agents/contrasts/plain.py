"""`answer_plainly`: a turn of the rejected side that is not contrasted."""

from music.pairs import Usage
from music_agents.roles import Role, RoleTurn, RoleView

__all__ = ["answer_plainly"]


async def answer_plainly(assistant: Role, view: RoleView) -> RoleTurn:
    """Answer a turn that is not made worse.

    While both sides have the same history, the chosen side's reply is repeated and nobody is asked: the sides part at
    the first contrasted reply, and a reply that both hold is paid for once.

    Args:
        assistant: Who answers otherwise.
        view: The turn.

    Raises:
        RoleFailedError: As the assistant does.
        EndpointError: Likewise.
    """
    if (text := view.already_said) is not None:
        return RoleTurn(text=text, usage=Usage())
    return await assistant(view)
