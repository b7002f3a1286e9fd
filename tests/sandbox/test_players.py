"""The sandbox plays each part from the prompts that real models get."""

import pytest

from music.conversation import Conversation
from music.llm.chat import ChatRequest
from music.prompts import ContrastStrategy, parse_contrast, render_assistant, render_contrast, render_user
from music.sandbox import SandboxModel, oracle
from music.sandbox.acts import Kind
from music.sandbox.language import read_user
from music.sandbox.seeds import converse, seed_pairs
from music.sandbox.state import expectations

WORLD = [converse(3, i, 0.0) for i in range(60)]
OTHER = Conversation().user("Why does Rust have lifetimes?").assistant("They let the compiler check references.")


def answer(messages, seed=1, skill="perfect"):
    return SandboxModel(skill).answer(ChatRequest(messages=messages, seed=seed))


@pytest.fixture(params=WORLD[:20], ids=range(20))
def asked(request):
    talk = request.param
    return talk.user(answer(render_user(talk)))


def test_the_user_goes_on_within_the_world_and_uses_every_kind_of_turn():
    kinds = {read_user(answer(render_user(talk), seed)).ask.kind for talk in WORLD for seed in range(3)}
    assert kinds == set(Kind)


def test_the_assistant_answers_what_was_asked(asked):
    assert oracle.grade(asked.assistant(answer(render_assistant(asked))))[-1].errors == ()


def test_the_instruction_contrast_is_fluent_and_wrong_for_the_request_only(asked):
    instruction, response = parse_contrast(answer(render_contrast(ContrastStrategy.INSTRUCTION, asked)))
    grade = oracle.grade(asked.assistant(response))[-1]
    assert grade.errors
    assert not set(grade.errors) & {"address", "end", "avoid"}
    if expectations(asked)[-1].kind is not Kind.RECOLLECTION:
        rephrased = Conversation().user(instruction).assistant(response)
        assert not set(oracle.grade(rephrased)[-1].errors) & {"topic", "aspect", "count"}


def test_drop_constraint_answers_the_request_against_the_standing_wishes():
    dropped = 0
    for talk in WORLD:
        asked = talk.user(answer(render_user(talk)))
        if not expectations(asked)[-1].standing:
            continue
        _, response = parse_contrast(answer(render_contrast(ContrastStrategy.DROP_CONSTRAINT, asked)))
        errors = set(oracle.grade(asked.assistant(response))[-1].errors)
        assert errors
        assert errors <= {"address", "end", "avoid"}
        dropped += 1
    assert dropped > 20


def test_drop_constraint_without_any_changes_the_request():
    asked = Conversation().user("Can I get one tip for rose cost?")
    _, response = parse_contrast(answer(render_contrast(ContrastStrategy.DROP_CONSTRAINT, asked)))
    assert oracle.grade(asked.assistant(response))[-1].errors


def test_the_same_request_gets_the_same_reply_and_another_seed_another():
    asked = WORLD[0].user(answer(render_user(WORLD[0])))
    replies = [answer(render_assistant(asked), seed) for seed in (1, 1, 2, 3, 4)]
    assert replies[0] == replies[1]
    assert len(set(replies)) > 2


def test_a_contrast_shares_its_accidents_with_the_reply_it_stands_for(asked):
    """Common random numbers: what does not belong to the contrast is alike on both sides."""
    plain = oracle.grade(asked.assistant(answer(render_assistant(asked), 7, "weak")))[-1].errors
    _, response = parse_contrast(answer(render_contrast(ContrastStrategy.INSTRUCTION, asked), 7, "weak"))
    standing = {"address", "end", "avoid"}
    assert set(oracle.grade(asked.assistant(response))[-1].errors) & standing == set(plain) & standing


def test_skills_are_ordered():
    def mean(skill):
        asked = [talk.user(answer(render_user(talk))) for talk in WORLD]
        return sum(oracle.grade(a.assistant(answer(render_assistant(a), 1, skill)))[-1].score for a in asked)

    assert mean("perfect") > mean("good") > mean("weak")


@pytest.mark.parametrize("strategy", list(ContrastStrategy))
def test_text_of_another_world_gets_fluent_talk(strategy):
    user = answer(render_user(OTHER))
    asked = OTHER.user(user)
    reply = answer(render_assistant(asked))
    instruction, response = parse_contrast(answer(render_contrast(strategy, asked)))
    assert len({user, reply, instruction, response}) == 4
    assert user == answer(render_user(OTHER))


def test_seed_pairs_differ_in_the_last_reply_only_and_mostly_have_one_turn():
    pairs = seed_pairs(300, 3)
    for pair in pairs:
        assert pair.chosen.messages[:-1] == pair.rejected.messages[:-1]
    single = sum(pair.chosen.num_turns == 1 for pair in pairs) / len(pairs)
    assert 0.8 < single < 1.0
    agree = [oracle.score([p.chosen])[0] > oracle.score([p.rejected])[0] for p in pairs]
    assert 0.8 < sum(agree) / len(agree) < 1.0
    assert seed_pairs(5, 3) == pairs[:5]
