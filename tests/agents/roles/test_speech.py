"""Who speaks: requests are told from statements, in the words that people use."""

import pytest

from music.sandbox import SandboxModel
from music.sandbox.world.seeds import seed_pairs
from music_agents.roles import RoleView
from music_agents.roles.model_roles import UserRole
from music_agents.roles.speech import asks, plain, without_stop_marks


@pytest.mark.parametrize(
    "text",
    [
        "How do I prune roses?",
        "how do i prune roses",
        "Same for coffee, please.",
        "Now make it shorter.",
        "Thanks! And give me the cost.",
        "I\u2019d like a shorter answer.",
        "My roses have black spots. Tell me what to do.",
        "In that case, suggest another one.",
        "Okay, explain the second step.",
        "Another one.",
        "Roses and tulips. Compare them.",
        "\u4ecb\u7ecd\u4e00\u4e0b\u7f57\u9a6c",  # not English: nobody knows, so it counts as a request
    ],
)
def test_requests_ask(text):
    assert asks(plain(text))


@pytest.mark.parametrize(
    "text",
    [
        "It's great that you asked.",
        "Thanks, that was helpful.",
        "Photosynthesis.",
        "Yes, the answer is yes.",
        "They're great choices. You mentioned something else.",
        "I live with a dog in Lyon.",
        "Roses need six hours of sun a day, and the soil should drain well.",
        "When it comes to roses, every garden has its own approach.",
    ],
)
def test_statements_do_not(text):
    assert not asks(plain(text))


async def test_users_of_the_sandbox_always_ask():
    user, assistant = UserRole(SandboxModel()), SandboxModel()
    for pair in seed_pairs(20, 1):
        talk = pair.chosen
        for turn in range(3):
            view = RoleView(conversation=talk, side="chosen", part="user", turn=turn, num_turns=5, pair=0, run_seed=0)
            said = (await user(view)).text
            assert asks(plain(said)), said
            talk = talk.user(said)
            talk = talk.assistant(assistant.answer(view.request(talk.messages)))


def test_plain_text_is_as_a_keyboard_types_it():
    assert plain(" I\u2019m\u00a0\u201cOK\u201d\u200b\u00ad ") == 'i\'m "ok"'


def test_a_text_without_marks_stays_as_it_is():
    assert without_stop_marks("A # list [of] <things>/ends") == "A # list [of] <things>/ends"
