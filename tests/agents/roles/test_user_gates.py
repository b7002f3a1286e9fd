"""User gates: what they refuse, and what they leave alone."""

import pytest

from music.conversation import Conversation
from music_agents.failures import FailureReason, UnfitReplyError
from music_agents.personas import Persona
from music_agents.roles import RoleView
from music_agents.roles.user_gates import DEFAULT_USER_GATES

ASKED = "Could you plan three days in Rome for a family with two small children?"
REPLY = "Sure! Day one: the Colosseum in the morning, then gelato near the Pantheon. Day two: the Borghese gardens."
LAST_REPLY = (
    "Day three: Ostia by train. Take the line from Porta San Paolo, and bring water, hats and something to eat."
)
TALK = Conversation().user(ASKED).assistant(REPLY).user("Go on.").assistant(LAST_REPLY)
PERSONA = Persona(who="You are a retired teacher with much time.", facts=("I live with a dog in Lyon.",))
ANSWER = "The Colosseum was built between the years 72 and 80 under the emperors of the Flavian dynasty. " * 4


def reason(text, turn=1):
    view = RoleView(
        conversation=TALK, side="chosen", part="user", turn=turn, num_turns=5, pair=0, run_seed=0, persona=PERSONA
    )
    try:
        for gate in DEFAULT_USER_GATES:
            gate(text, view)
    except UnfitReplyError as error:
        return error.reason
    return None


STOPS = ["###STOP###", "Great, thanks. ###STOP###", "That's all, thanks!", "Goodbye!", "Thanks, that is all I needed."]
STOPS += ["That\u2019s all, thanks!", "Great. [[TERMINATE CHAT]]", "TERMINATE", "Fine.\n/end"]
STOPS += ["No further questions.", "Perfect. Have a great day!", "Thank you, bye"]


@pytest.mark.parametrize("text", STOPS)
def test_a_farewell_is_refused_before_the_last_turn_only(text):
    assert reason(text) is FailureReason.USER_STOPPED
    assert reason(text, turn=4) is None


@pytest.mark.parametrize(
    "text",
    [
        "Assistant: Day four could be for museums.",
        "What about museums?\n\nAssistant: The Vatican museums are large.\nUser: Thanks.",
        "As an AI language model, I cannot travel.",
        "The Vatican museums are open daily. Let me know if you have any other questions!",
        "Hello! How can I help you today?",
        "Of course! Here is a plan for the fourth day: start at the Vatican museums, have lunch, then rest in a park.",
        ANSWER,
        # what a small model says when it is to play the user
        "I\u2019m glad you asked about Rome!",
        "I'm glad to hear you're planning a trip, but what does that mean?",
        "It\u2019s great that you are taking the children along.",
        "Sure! Here are three ideas for the fourth day.",
        "Sure, here is a plan.",
        "Of course, I'd be happy to suggest something entirely different.",
        "I'm sorry for any misunderstanding, but as a chatbot I have no preferences.",
        "As an AI, I cannot travel.",
        "That's an excellent summary of the sights. I would like to add a few tips.",
        "You're welcome. Enjoy the trip.",
        "Great question! The gardens open at nine.",
        "You can take the train from Porta San Paolo and be in Ostia within half an hour.",
        "What about day four? I hope this meets your needs!",
        "\u200bAssistant: Day four could be for museums.",
        "Let\u200b me know if you have any other questions!",
    ],
)
def test_speaking_as_the_assistant_is_refused(text):
    assert reason(text) is FailureReason.USER_ROLE_FLIP


@pytest.mark.parametrize(
    "text",
    [
        "What about day four?< |im_end|>\n< |im_start|>assistant\nThe Vatican museums.",
        "What about day four?<end_of_turn>",
        "Okay.\n<think>\nThe user wants museums.\n</think>\nWhat about museums?",
    ],
)
def test_marks_of_a_template_are_refused(text):
    assert reason(text) is FailureReason.USER_ROLE_FLIP


@pytest.mark.parametrize(
    "text",
    [
        ASKED,
        ASKED.upper(),
        "Could you please plan three days in Rome for a family with two small children?",
        "Go on.",
        LAST_REPLY,
        LAST_REPLY[40:],
    ],
)
def test_saying_the_same_again_is_refused(text):
    assert reason(text) is FailureReason.USER_REPEATS


@pytest.mark.parametrize(
    "text",
    [
        "I am playing the human user here. What about day four?",
        "What is true of you; mention each where it fits: I live with a dog.",
        "You are a retired teacher with much time. What about museums?",
        "As instructed, I follow up on a detail: which gelato?",
    ],
)
def test_giving_the_instructions_away_is_refused(text):
    assert reason(text) is FailureReason.USER_LEAKS


@pytest.mark.parametrize(
    "text",
    [
        "Thanks! And what about day four?",
        "I live with a dog in Lyon. Can it come along?",
        "Could you plan three days in Rome for a couple with one grown child?",
        "Is that all there is to see?",
        "As an AI, do you ever get tired?",
        "Make it shorter.",
        "You can skip the museums. What about parks?",
        "I can take the train from Porta San Paolo, and the children like it. We would rather not change, though.",
        "I am glad that the gardens are free. And the Pantheon?",
        "Here is my draft: three days, one park a day.",
        "It is a great city, I think.",
        "\u4f60\u597d\uff0c\u8bf7\u95ee\u7f57\u9a6c\u6709\u4ec0\u4e48\u597d\u5403\u7684",
        "How do I take care of the tickets?",
        "Should we say goodbye to the idea of Ostia?",
        "Please translate this: " + ANSWER,
        "Sure, but with less walking.",
        "My personal favourite is the Pantheon. More like that, please.",
    ],
)
def test_what_users_say_passes(text):
    assert reason(text) is None
