"""The simulated user: asked again when a message is of no use, and given up in the end."""

from dataclasses import replace

import pytest

from music.conversation import Conversation, Message
from music.llm.chat import ChatReply, ReplyOutcome
from music.prompts import load_user_template
from music.sandbox import SandboxModel
from music.sandbox.world.seeds import seed_pairs
from music_agents.failures import FailureReason, RoleFailedError
from music_agents.personas import Persona
from music_agents.roles import RoleView
from music_agents.roles.model_roles import UserRole
from music_agents.roles.user_gates import DEFAULT_USER_GATES, refuse_stops

TALK = (
    Conversation(messages=(Message(role="system", content="Be {brief}."),)).user("What is rye?").assistant("A grain.")
)


class Script:
    """Says one line after the other, and keeps what it was asked."""

    name = "script"

    def __init__(self, *lines):
        self.lines = list(lines)
        self.requests = []

    async def complete(self, request):
        self.requests.append(request)
        return ChatReply(text=self.lines.pop(0), outcome=ReplyOutcome.COMPLETE, model="script", completion_tokens=3)


def view(conversation=TALK, persona=None):
    return RoleView(
        conversation=conversation, side="chosen", part="user", turn=0, num_turns=3, pair=0, run_seed=0, persona=persona
    )


async def test_a_message_that_a_gate_refuses_is_asked_for_again_and_counted():
    script = Script("Goodbye!", "What is rye?", "  And spelt? ")
    turn = await UserRole(script)(view())
    assert turn.text == "And spelt?"
    assert turn.retries == (FailureReason.USER_STOPPED, FailureReason.USER_REPEATS)
    assert turn.usage.num_calls == 3
    assert len({request.seed for request in script.requests}) == len({request.key for request in script.requests}) == 3


async def test_a_user_that_never_does_well_gives_the_pair_up():
    with pytest.raises(RoleFailedError, match="bye") as caught:
        await UserRole(Script(*["Goodbye!"] * 3))(view())
    assert caught.value.reason is FailureReason.USER_STOPPED


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("Thanks, that covers it. [[TERMINATE CHAT]]", "Thanks, that covers it."),
        ("Yes, go ahead with number 3. ###STOP###", "Yes, go ahead with number 3."),
        ("Goodbye! <|end|>", "Goodbye!"),
        ("Goodbye! < |end|>", "Goodbye!"),
        ("That is all, thanks.\n\nTERMINATE", "That is all, thanks."),
        ("That is all, thanks. /end", "That is all, thanks."),
        ("That is all, thanks. [END]", "That is all, thanks."),
        ("[END OF CONVERSATION]\nThanks for all.", "Thanks for all."),
        ("How do I write <end> tags?", "How do I write <end> tags?"),
        ("What does [STOP] in the list mean?", "What does [STOP] in the list mean?"),
        ("Does the bus stop in /end street?", "Does the bus stop in /end street?"),
    ],
)
async def test_in_the_last_turn_a_farewell_may_stay_and_its_mark_may_not(said, kept):
    turn = await UserRole(Script(said))(replace(view(), turn=2))
    assert (turn.text, turn.retries) == (kept, ())


@pytest.mark.parametrize("said", ["[[TERMINATE CHAT]]", "###STOP###", "\u200b", "\ufeff\u2060 \u00ad"])
async def test_a_message_of_nothing_is_asked_for_again(said):
    turn = await UserRole(Script(said, "And spelt?"))(replace(view(), turn=2))
    assert (turn.text, turn.retries) == ("And spelt?", (FailureReason.REPLY_EMPTY,))


@pytest.mark.parametrize("said", ["Fine. [[TERMINATE CHAT]]", "Fine. <|end|>", "TERMINATE", "Fine. /end"])
async def test_before_the_last_turn_a_mark_is_asked_for_again(said):
    turn = await UserRole(Script(said, "And spelt?"))(view())
    assert (turn.text, turn.retries) == ("And spelt?", (FailureReason.USER_STOPPED,))


async def test_instructions_of_ones_own_take_the_place_of_these():
    source = "Play {{ persona or 'anyone' }}, who talks to one told: {{ system }}"
    script = Script("And spelt?", "And oats?")
    user = UserRole(script, template=load_user_template("mine", source))
    await user(view(persona=Persona.of("A miller.")))
    await user(view(Conversation()))
    first, *history = script.requests[0].messages
    assert first.content.startswith("Play A miller.")
    assert first.content.endswith("who talks to one told: Be {brief}.")
    assert [(m.role, m.content) for m in history] == [("assistant", "What is rye?"), ("user", "A grain.")]
    (opening,) = script.requests[1].messages
    assert opening.content.endswith("The conversation has not begun yet: write its first message.")


async def test_gates_can_be_left_out():
    gates = tuple(gate for gate in DEFAULT_USER_GATES if gate is not refuse_stops)
    assert (await UserRole(Script("Goodbye!"), gates=gates)(view())).text == "Goodbye!"
    assert (await UserRole(Script("Assistant: Hi."), gates=())(view())).text == "Assistant: Hi."


async def test_the_prompt_holds_the_persona_and_the_swapped_history():
    script = Script("And spelt?")
    await UserRole(script)(view(persona=Persona.of("A miller.")))
    first, *history = script.requests[0].messages
    assert "A miller." in first.content
    assert "Be {brief}." in first.content
    assert [(m.role, m.content) for m in history] == [("assistant", "What is rye?"), ("user", "A grain.")]


async def test_users_of_the_sandbox_pass_every_gate():
    user, assistant = UserRole(SandboxModel()), SandboxModel("weak")
    for talk in [pair.chosen for pair in seed_pairs(30, 4)] + [TALK]:
        for _ in range(4):
            turn = await user(view(talk))
            assert turn.retries == ()
            talk = talk.user(turn.text)
            talk = talk.assistant(assistant.answer(view(talk).request(talk.messages)))
