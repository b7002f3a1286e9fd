"""The oracle names each error that is put into a reply, and no other."""

import pytest

from music.conversation import Conversation
from music.sandbox import grade_turns, oracle_score
from music.sandbox.world.defects import ERROR_GROUPS, draw_defects
from music.sandbox.world.oracle import PENALTIES, ErrorKind
from music.sandbox.world.players import converse

KINDS = [kind for group in ERROR_GROUPS.values() for kind in group]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("turn", [0, 2, 4])
def test_one_defect_gives_one_error_in_its_turn(kind, turn):
    for defect in draw_defects(kind, turn, 5, 5, seed=1):
        grades = grade_turns(defect.pair.rejected)
        assert [g.errors for g in grades] == [(kind,) if t == turn else () for t in range(5)]
        assert grades[turn].score == pytest.approx(1 - PENALTIES[kind])
        assert oracle_score([defect.pair.chosen]) == [1.0]
        differing = [i for i, (a, b) in enumerate(zip(*_messages(defect.pair), strict=True)) if a != b]
        assert differing == [2 * turn + 1]


def _messages(pair):
    return pair.chosen.messages, pair.rejected.messages


def test_a_flawless_assistant_scores_one_and_careless_ones_less():
    scores = [sum(oracle_score([converse(5, i, skill) for i in range(60)])) / 60 for skill in (0.0, 0.5, 1.0, 1.5)]
    assert scores[0] == 1.0
    assert scores == sorted(scores, reverse=True)
    assert scores[2] < 0.85


def _talk(*texts):
    conversation = Conversation()
    for i, text in enumerate(texts):
        conversation = conversation.user(text) if i % 2 == 0 else conversation.assistant(text)
    return conversation


def test_ellipsis_is_resolved_from_the_history():
    talk = _talk(
        "Can I get one tip for rose cost? Please call me Nora. I live with a cat.",
        "Sure, Nora. Plan rose cost early.",
        "How about safety?",
        "Sure, Nora. Plan rose safety early.",
        "And for lawn?",
        "Sure, Nora. Plan lawn safety early.",
        "Make it two tips, please.",
        "Sure. Plan lawn safety early. Keep lawn safety simple.",
        "Remind me, what is my pet?",
        "Sure, Nora. You live with a dog.",
    )
    assert [g.errors for g in grade_turns(talk)] == [(), (), (), (ErrorKind.ADDRESS,), (ErrorKind.RECOLLECTION,)]


def test_a_follow_up_is_about_the_reply_that_was_given():
    talk = _talk(
        "Can I get one tip for rose cost?",
        "Sure. Plan lawn cost early.",
        "Could you go deeper on your last point?",
        "Sure. Plan lawn cost early.",
    )
    assert [g.errors for g in grade_turns(talk)] == [(ErrorKind.TOPIC,), ()]


def test_an_empty_or_alien_reply_fails_the_request():
    talk = _talk("Can I get one tip for rose cost?", "I cannot help with that.")
    assert grade_turns(talk)[0].score == 0.0


def test_turns_of_another_world_are_left_out():
    assert grade_turns(_talk("What is the capital of France?", "Paris.")) == ()
    assert oracle_score([_talk("What is the capital of France?", "Paris.")]) == [0.5]
