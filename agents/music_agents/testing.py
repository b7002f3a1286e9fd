"""Checks of your own plug-ins: `check_speaker` for a role, `check_contrast` for a contrast.

A check needs no test framework and no endpoint. It returns None, or raises `music.testing.CheckError`, which pytest
shows as a failed assertion. The models of the plug-in should be deterministic, as the sandbox is.
"""

from collections.abc import Sequence
from typing import Literal

from music.aio import run_in_background
from music.conversation import Conversation
from music.llm.chat import EndpointError
from music.llm.sanitise import find_control_token
from music.pairs import Usage
from music.testing import CheckError
from music_agents.failures import RoleFailedError, RoleStopError
from music_agents.graph import PairContext, PairGraphError, build_pair_graph, run_pair_graph
from music_agents.roles import RoleSet, RoleTurn, RoleView, Speaker

__all__ = ["SAMPLES", "check_contrast", "check_speaker"]

_FRUIT = Conversation().user("Name a fruit. Keep it to one word.").assistant("Apple.")
SAMPLES = (
    Conversation(),
    _FRUIT,
    _FRUIT.user("And one that is yellow?").assistant("Banana."),
    Conversation.from_messages([{"role": "system", "content": "Answer politely."}])
    .user("How do I boil an egg?")
    .assistant("Put it into boiling water for eight minutes, please."),
)
"""Beginnings of conversations: empty, one or two turns, and a system message."""
_REQUESTS = ("Could you say more about that?", "Why is that so?", "And what would you leave out?")


def check_speaker(
    speaker: Speaker,
    part: Literal["user", "assistant"] = "assistant",
    conversations: Sequence[Conversation] = SAMPLES,
    *,
    seed: int = 0,
) -> None:
    """Check that a role keeps the contract of `Speaker`.

    - It returns a `RoleTurn` whose text is not blank and holds no control token of a chat template, with its usage and
      its retries. Only a contrast records a contrast.
    - It returns the same turn when it is asked again with the same view, and so with the same seed.
    - It raises `RoleFailedError` or `EndpointError` if it gives up, and no other error. It must not always give up.

    Args:
        speaker: The role to check.
        part: Whether it speaks for the user or for the assistant.
        conversations: Histories for its views, each before a user's turn.
        seed: The run's seed in the views.

    Raises:
        CheckError: It breaks the contract.

    Example:
        >>> from music.sandbox import SandboxModel
        >>> from music_agents import AssistantRole
        >>> check_speaker(AssistantRole(SandboxModel()))
    """
    checked = _Checked(speaker, may_contrast=False)

    async def check() -> None:
        for index, start in enumerate(conversations):
            conversation = start if part == "user" else start.user(_REQUESTS[0])
            view = RoleView(
                conversation=conversation, side="chosen", part=part, turn=0, num_turns=3, pair=index, run_seed=seed
            )
            try:
                await checked(view)
            except (RoleFailedError, EndpointError) as error:
                checked.given_up = error

    run_in_background(check())
    checked.require_turns()


def check_contrast(
    contrast: Speaker,
    user: Speaker | None = None,
    assistant: Speaker | None = None,
    conversations: Sequence[Conversation] = SAMPLES,
    *,
    num_turns: int = 3,
    seed: int = 0,
) -> None:
    """Check that a contrast keeps its contract, in whole pairs as a run simulates them.

    - It keeps the contract of `check_speaker` in every turn of the rejected side.
    - A turn that it makes worse has a `TurnContrast` with the index of the turn and a name.
    - A turn that it cannot make worse has none, and repeats the reply of the chosen side while both sides have the same
      history (`music_agents.contrasts.answer_plainly` does).
    - Both sides grow by whole exchanges of user and assistant, and at least one pair has a contrast and two sides.

    Args:
        contrast: The contrast to check.
        user: Plays the user; by default with fixed requests.
        assistant: Answers on the chosen side; by default with a reply that quotes the request.
        conversations: Seed contexts of the pairs.
        num_turns: Turns of each side.
        seed: The run's seed.

    Raises:
        CheckError: It breaks the contract.

    Example:
        >>> from music_agents import ForgetContrast
        >>> check_contrast(ForgetContrast(assistant))
    """
    checked = _Checked(contrast, may_contrast=True)
    roles = RoleSet(user=user or _ask_on, assistant=assistant or _name_request, contrast=checked)

    async def check() -> int:
        graph, num_contrasted = build_pair_graph(roles), 0
        for index, start in enumerate(conversations):
            context = PairContext(pair=index, run_seed=seed, num_seed_messages=len(start.messages), num_turns=num_turns)
            try:
                state = await run_pair_graph(graph, start, context)
            except RoleStopError as error:
                checked.given_up = error
            except PairGraphError as error:
                raise CheckError(f"expected sides on which user and assistant take turns: {error}") from error
            else:
                num_contrasted += bool(state["contrasts"]) and state["chosen"] != state["rejected"]
        return num_contrasted

    num_contrasted = run_in_background(check())
    checked.require_turns()
    if not num_contrasted:
        raise CheckError(
            f"expected a contrast and two different sides in some of {len(conversations)} pairs, got none: return a "
            "TurnContrast for turns that were made worse, or pass conversations of its own domain"
        )


class _Checked:
    """Wraps a speaker and checks its turns."""

    def __init__(self, speaker: Speaker, *, may_contrast: bool) -> None:
        self._speaker = speaker
        self._may_contrast = may_contrast
        self._num_turns = 0
        self.given_up: Exception | None = None

    async def __call__(self, view: RoleView) -> RoleTurn:
        """Speak, twice.

        Raises:
            CheckError: The turn breaks the contract.
        """
        turn = await self._speak(view)
        self._check_turn(turn, view)
        again = await self._speak(view)
        if again != turn:
            raise CheckError(f"{_place(view)}: expected the same turn for the same view, got {turn} and {again}")
        self._num_turns += 1
        return turn

    def require_turns(self) -> None:
        """Require at least one turn.

        Raises:
            CheckError: The speaker always gave up.
        """
        if not self._num_turns:
            raise CheckError(f"expected a turn for some conversation, but it always gave up: {self.given_up}")

    async def _speak(self, view: RoleView) -> RoleTurn:
        try:
            return await self._speaker(view)
        except (RoleFailedError, EndpointError):
            raise
        except Exception as error:
            kind = type(error).__name__
            raise CheckError(
                f"{_place(view)}: expected RoleFailedError or EndpointError, got {kind}: {error}"
            ) from error

    def _check_turn(self, turn: object, view: RoleView) -> None:
        place = _place(view)
        if not isinstance(turn, RoleTurn):
            raise CheckError(f"{place}: expected a RoleTurn, got {turn!r}")
        if not isinstance(turn.text, str) or not turn.text.strip():
            raise CheckError(f"{place}: expected a text that is not blank, got {turn.text!r}")
        if token := find_control_token(turn.text):
            raise CheckError(f"{place}: expected a text without control tokens of chat templates, got {token!r} in it")
        if not isinstance(turn.usage, Usage) or not isinstance(turn.retries, tuple):
            raise CheckError(f"{place}: expected a Usage and a tuple of retries, got {turn.usage!r}, {turn.retries!r}")
        record = turn.contrast
        if record is None:
            said = view.already_said if self._may_contrast else None
            if said is not None and turn.text != said:
                raise CheckError(f"{place}: expected a TurnContrast, or the chosen side's reply; got {turn.text!r}")
        elif not self._may_contrast:
            raise CheckError(f"{place}: expected no contrast of a role that is none, got {record!r}")
        elif record.turn != view.turn or not record.strategy.strip():
            raise CheckError(f"{place}: expected a contrast with turn {view.turn} and a strategy, got {record!r}")


async def _ask_on(view: RoleView) -> RoleTurn:
    return RoleTurn(text=_REQUESTS[view.turn % len(_REQUESTS)], usage=Usage())


async def _name_request(view: RoleView) -> RoleTurn:
    request = view.conversation.messages[-1].content
    return RoleTurn(text=f"Turn {view.turn + 1}, to the request {request!r}: here is what I know.", usage=Usage())


def _place(view: RoleView) -> str:
    return f"conversation {view.pair}, turn {view.turn}"
