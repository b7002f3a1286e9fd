"""The sandbox plays each part from the prompts that real models get."""

import pytest

from music.conversation import Conversation
from music.llm.chat import ChatRequest
from music.prompts import (
    ContrastStrategy,
    read_contrast,
    read_rewrite,
    render_assistant,
    render_contrast,
    render_rewrite,
    render_user,
)
from music.sandbox import SandboxModel, grade_turns, oracle_score
from music.sandbox.world.defects import draw_defects
from music.sandbox.world.language import read_reply, read_user
from music.sandbox.world.oracle import ErrorKind
from music.sandbox.world.players import converse
from music.sandbox.world.seeds import seed_pairs
from music.sandbox.world.state import expectations
from music.sandbox.world.vocabulary import FACTS, AskKind, Fact

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
    assert kinds == set(AskKind)


def test_the_assistant_answers_what_was_asked(asked):
    assert grade_turns(asked.assistant(answer(render_assistant(asked))))[-1].errors == ()


def test_the_instruction_contrast_is_fluent_and_wrong_for_the_request_only(asked):
    instruction, response = read_contrast(answer(render_contrast(ContrastStrategy.INSTRUCTION, asked)))
    grade = grade_turns(asked.assistant(response))[-1]
    assert grade.errors
    assert not set(grade.errors) & {"address", "end", "avoid"}
    if expectations(asked)[-1].kind is not AskKind.RECOLLECTION:
        rephrased = Conversation().user(instruction).assistant(response)
        assert not set(grade_turns(rephrased)[-1].errors) & {"topic", "aspect", "count"}


def test_drop_constraint_answers_the_request_against_the_standing_wishes():
    dropped = 0
    for talk in WORLD:
        asked = talk.user(answer(render_user(talk)))
        if not expectations(asked)[-1].standing:
            continue
        _, response = read_contrast(answer(render_contrast(ContrastStrategy.DROP_CONSTRAINT, asked)))
        errors = set(grade_turns(asked.assistant(response))[-1].errors)
        assert errors
        assert errors <= {"address", "end", "avoid"}
        dropped += 1
    assert dropped > 20


def test_drop_constraint_without_any_changes_the_request():
    asked = Conversation().user("Can I get one tip for rose cost?")
    _, response = read_contrast(answer(render_contrast(ContrastStrategy.DROP_CONSTRAINT, asked)))
    assert grade_turns(asked.assistant(response))[-1].errors


def test_a_persona_swap_goes_against_facts_and_wishes_and_elsewhere_against_the_request():
    seen = set()
    for talk in WORLD:
        asked = talk.user(answer(render_user(talk)))
        expected = expectations(asked)[-1]
        _, response = read_contrast(answer(render_contrast(ContrastStrategy.PERSONA_SWAP, asked)))
        errors = set(grade_turns(asked.assistant(response))[-1].errors)
        held = expected.standing or expected.fact
        assert errors <= ({"address", "end", "avoid", "recollection"} if held else {"aspect", "follow_up"})
        seen |= errors
        assert errors or set(expected.standing) == {"avoid"}
    assert seen >= {"address", "end", "avoid", "recollection"}


def test_a_rewritten_request_is_answered_as_a_request_of_its_own(asked):
    rewritten = read_rewrite(answer(render_rewrite(asked)))
    assert rewritten != asked.messages[-1].content
    act = read_user(rewritten)
    assert act.statements == read_user(asked.messages[-1].content).statements
    response = answer(render_assistant(asked.prefix(len(asked.messages) - 1).user(rewritten)))
    assert set(grade_turns(asked.assistant(response))[-1].errors) - {"address", "end", "avoid"}


def rejected_side(seed):
    """A conversation whose every reply is contrasted, and the same one without the contrasts."""
    good = bad = Conversation()
    for turn in range(5):
        said = answer(render_user(good), seed * 10 + turn)
        good, bad = good.user(said), bad.user(said)
        _, response = read_contrast(answer(render_contrast(ContrastStrategy.INSTRUCTION, bad), seed))
        good, bad = good.assistant(answer(render_assistant(good), seed)), bad.assistant(response)
    return good, bad


def items(conversation):
    replies = [read_reply(m.content).tips for m in conversation.messages if m.role == "assistant"]
    return [items[0] for items in replies if items]


def test_a_contrast_keeps_to_one_slot_and_its_replies_hang_together_like_the_true_ones():
    slots, num_compared = set(), 0
    for seed in range(40):
        good, bad = rejected_side(seed)
        if any(e and e.kind is AskKind.FOLLOW_UP for e in expectations(good)):
            continue
        errors = {error for g in grade_turns(bad) for error in g.errors} & {"topic", "aspect", "count"}
        assert len(errors) == 1
        slots |= errors
        true, false = items(good), items(bad)
        # What repeats on one side repeats on the other: counting changes of subject tells nothing.
        for name in ("topic", "aspect"):
            values = [[getattr(item, name) for item in side] for side in (true, false)]
            assert len(set(zip(*values, strict=True))) == len(set(values[0])) == len(set(values[1]))
        num_compared += 1
    assert slots == {"topic", "aspect", "count"}
    assert num_compared > 10


@pytest.mark.parametrize("number", range(20))
def test_an_assistant_that_lost_the_history_guesses_and_stays_in_the_world(number):
    asked = WORLD[number].user(answer(render_user(WORLD[number])))
    forgetful = Conversation().user(asked.messages[-1].content)
    response = answer(render_assistant(forgetful))
    said, act = read_reply(response), read_user(forgetful.messages[-1].content)
    assert said.tips or said.fact
    stated = {statement.about for statement in act.statements}
    assert (said.name is not None) == ("address" in stated)
    assert (said.ending is not None) == ("end" in stated)
    if act.ask.topic:
        assert said.tips[0].topic == act.ask.topic


def test_a_fact_that_was_forgotten_is_guessed_so_it_is_mostly_wrong():
    asked = Conversation().user("Remind me, what is my job?")
    guesses = {read_reply(answer(render_assistant(asked), seed)).fact.value for seed in range(60)}
    assert guesses == set(FACTS[Fact.JOB])


def test_a_defect_of_recollection_is_a_wrong_fact_and_none_stands_in_the_first_turn():
    for defect in draw_defects(ErrorKind.RECOLLECTION, 2, 3, 5, 0):
        facts = [read_reply(side.messages[5].content).fact for side in (defect.pair.chosen, defect.pair.rejected)]
        assert facts[0].about is facts[1].about
        assert facts[0].value != facts[1].value
    with pytest.raises(ValueError, match="from 1"):
        draw_defects(ErrorKind.RECOLLECTION, 0, 3, 5, 0)


def test_the_same_request_gets_the_same_reply_and_another_seed_another():
    asked = WORLD[0].user(answer(render_user(WORLD[0])))
    replies = [answer(render_assistant(asked), seed) for seed in (1, 1, 2, 3, 4)]
    assert replies[0] == replies[1]
    assert len(set(replies)) > 2


def test_a_contrast_shares_its_accidents_with_the_reply_it_stands_for(asked):
    """Common random numbers: what does not belong to the contrast is alike on both sides."""
    plain = grade_turns(asked.assistant(answer(render_assistant(asked), 7, "weak")))[-1].errors
    _, response = read_contrast(answer(render_contrast(ContrastStrategy.INSTRUCTION, asked), 7, "weak"))
    standing = {"address", "end", "avoid"}
    assert set(grade_turns(asked.assistant(response))[-1].errors) & standing == set(plain) & standing


def test_skills_are_ordered():
    def mean(skill):
        asked = [talk.user(answer(render_user(talk))) for talk in WORLD]
        return sum(grade_turns(a.assistant(answer(render_assistant(a), 1, skill)))[-1].score for a in asked)

    assert mean("perfect") > mean("good") > mean("weak")


@pytest.mark.parametrize("strategy", list(ContrastStrategy))
def test_text_of_another_world_gets_fluent_talk(strategy):
    user = answer(render_user(OTHER))
    asked = OTHER.user(user)
    reply = answer(render_assistant(asked))
    instruction, response = read_contrast(answer(render_contrast(strategy, asked)))
    assert len({user, reply, instruction, response}) == 4
    assert user == answer(render_user(OTHER))


def test_in_another_world_too_forgetting_rewriting_and_carelessness_show():
    asked = OTHER.user(answer(render_user(OTHER)))
    plain = answer(render_assistant(asked))
    assert answer(render_assistant(Conversation().user(asked.messages[-1].content))) != plain
    rewritten = read_rewrite(answer(render_rewrite(asked)))
    assert answer(render_assistant(asked.prefix(2).user(rewritten))) != plain
    replies = [[answer(render_assistant(asked), seed, skill) for seed in range(30)] for skill in ("perfect", "weak")]
    assert sum(a != b for a, b in zip(*replies, strict=True)) > 5


def test_prompts_of_another_world_are_warned_of_once(caplog):
    model = SandboxModel()
    for talk in [*WORLD[:3], Conversation(), OTHER, OTHER]:
        model.answer(ChatRequest(messages=render_user(talk), seed=1))
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "does not understand the prompt 'Why does Rust have lifetimes?'" in warning
    assert "personas have no effect" in warning


def test_seed_pairs_differ_in_the_last_reply_only_and_mostly_have_one_turn():
    pairs = seed_pairs(300, 3)
    for pair in pairs:
        assert pair.chosen.messages[:-1] == pair.rejected.messages[:-1]
    single = sum(pair.chosen.num_turns == 1 for pair in pairs) / len(pairs)
    assert 0.8 < single < 1.0
    agree = [oracle_score([p.chosen])[0] > oracle_score([p.rejected])[0] for p in pairs]
    assert 0.8 < sum(agree) / len(agree) < 1.0
    assert seed_pairs(5, 3) == pairs[:5]
