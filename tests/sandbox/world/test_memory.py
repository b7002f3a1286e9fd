"""Users with memory: their words, the errors that depend on earlier turns, and the four outcomes."""

import re
import statistics

import pytest
from transformers import AutoTokenizer

from music.conversation import Conversation
from music.llm import load_model
from music.llm.chat import ChatRequest
from music.prompts import ContrastStrategy, read_contrast, render_contrast, render_user
from music.sandbox import ErrorKind, Outcome, SandboxModel, grade_turns, oracle_outcomes, oracle_score, seed_pairs
from music.sandbox.artifacts import BACKBONE
from music.sandbox.world import phrases
from music.sandbox.world.language import read_user, write_user
from music.sandbox.world.players import converse, stream
from music.sandbox.world.vocabulary import LEXICON, Ask, MemoryAsk, UserAct

ASKS = [
    Ask(MemoryAsk.QUOTE, turn=2),
    Ask(MemoryAsk.PLAN, "rose", steps=("cost", "gear")),
    Ask(MemoryAsk.PLAN, "camping", steps=("timing", "safety", "cost")),
    Ask(MemoryAsk.STEP),
    Ask(MemoryAsk.CORRECTION),
    *(Ask(MemoryAsk.CORRECTION, error=error) for error in phrases.FEEDBACK if error),
]
TEMPLATES = [text for group in phrases.MEMORY_ASKS.values() for text in group]
TEMPLATES += [*phrases.QUOTES, *phrases.FEEDBACK["contradiction"], *phrases.FEEDBACK["step"]]


def talk(*texts):
    conversation = Conversation()
    for number, text in enumerate(texts):
        conversation = conversation.assistant(text) if number % 2 else conversation.user(text)
    return conversation


def errors(*texts):
    return [grade.errors for grade in grade_turns(talk(*texts))]


def outcomes(*texts):
    return {outcome.name: round(value, 2) for outcome, value in oracle_outcomes(talk(*texts)).items()}


@pytest.mark.parametrize("ask", ASKS, ids=str)
def test_requests_are_read_back(ask):
    for seed in range(20):
        assert read_user(write_user(UserAct(ask), stream(seed, "user"))).ask == ask


def test_the_shipped_tokenizer_has_one_token_for_each_word_of_the_templates():
    tokenizer = AutoTokenizer.from_pretrained(BACKBONE)
    for template in TEMPLATES:
        words = re.findall(r"[A-Za-z]+", re.sub(r"\{[a-z]+\}", "", template))
        assert not {word.lower() for word in words} & set(LEXICON), template
        assert [len(tokenizer.tokenize(word)) for word in words] == [1] * len(words), template


FIRST = ("Can I get one tip for rose cost?", "Sure. Plan lawn cost early.")
OTHER = ("And what about the gear?", "Sure. Plan rose gear early.")


def test_a_quote_is_right_if_it_agrees_with_the_reply_and_not_with_the_request():
    asked = (*FIRST, *OTHER, "What did you say in turn one?")
    assert errors(*asked, "Sure. I said lawn cost.") == [(ErrorKind.TOPIC,), (), ()]
    assert errors(*asked, "Sure. I said rose cost.")[2] == (ErrorKind.CONTRADICTION,)
    assert errors(*asked, "I do not know.")[2] == (ErrorKind.CONTRADICTION,)
    assert errors(*FIRST, "What did you say in turn three?", "Sure. I said lawn cost.") == [(ErrorKind.TOPIC,)]


@pytest.mark.parametrize("pointed_out", ["Wrong hobby, that was. ", ""])
def test_an_error_that_is_pointed_out_weighs_more_if_it_is_repeated(pointed_out):
    asked = (*FIRST, f"{pointed_out}Please do it right this time.")
    assert errors(*asked, "Sure. Keep rose cost simple.")[1] == ()
    repeated = grade_turns(talk(*asked, "Sure. Keep lawn cost simple."))[1]
    assert repeated.errors == (ErrorKind.CORRECTION,)
    assert repeated.score < grade_turns(talk(*FIRST))[0].score


def test_another_error_in_the_reply_to_a_correction_is_of_its_own_kind():
    asked = (*FIRST, "Wrong hobby, that was. Please do it right this time.")
    assert errors(*asked, "Sure. Plan rose gear early.")[1] == (ErrorKind.ASPECT,)


PLAN = "I would like the cost, gear of rose, each in turn."


def test_each_step_of_a_plan_is_due_once_and_other_requests_do_not_lose_it():
    done = (PLAN, "Sure. Plan rose cost early.", "And for lawn?", "Sure. Plan lawn cost early.", "What is next?")
    assert errors(*done, "Sure. Plan rose gear early.") == [(), (), ()]
    assert errors(*done, "Sure. Plan lawn gear early.")[2] == (ErrorKind.STEP,)
    assert errors(*done, "Sure. Plan rose cost early.")[2] == (ErrorKind.STEP,)
    after = (*done, "Sure. Plan rose gear early.", "And the next side?", "Sure. Plan rose gear early.")
    assert len(errors(*after)) == 3, "there is no third step, so the last turn is not graded"


def test_outcomes_differ_by_when_an_error_is_made_and_whether_it_is_corrected():
    late = (PLAN, "Sure. Plan rose cost early.", "And the next side?", "Sure. Plan rose cost early.")
    assert outcomes(*late) == {"MEAN": 0.75, "WORST": 0.5, "FINAL": 0.5, "GOAL": 0.0}
    asked = (*late, "The next side was another. Please do it right this time.")
    assert outcomes(*asked, "Sure. Plan rose gear early.") == {"MEAN": 0.83, "WORST": 0.5, "FINAL": 1.0, "GOAL": 1.0}
    assert outcomes(*asked, "Sure. Plan rose cost early.")["GOAL"] == 0.0


def test_with_a_plan_only_steps_and_corrections_decide_on_the_goal():
    other = ("Make it two, please.", "Sure. Plan rose cost early.")
    assert outcomes(PLAN, "Sure. Plan rose cost early.", *other)["GOAL"] == 1.0
    assert outcomes(*FIRST, *OTHER)["GOAL"] == 0.0, "without a plan every error counts"
    assert outcomes("Why is the sky blue?", "It scatters light.") == dict.fromkeys(Outcome.__members__, 0.5)


def test_the_outcomes_of_a_fair_assistant_differ_and_a_perfect_one_reaches_all():
    fair = [oracle_outcomes(converse(5, f"fair/{number}", 1.0, memory=True)) for number in range(200)]
    by_outcome = {outcome: [each[outcome] for each in fair] for outcome in Outcome}
    for outcome in (Outcome.WORST, Outcome.FINAL, Outcome.GOAL):
        assert 0.2 < statistics.correlation(by_outcome[outcome], by_outcome[Outcome.MEAN]) < 0.95
    for number in range(60):
        perfect = converse(5, f"perfect/{number}", 0.0, memory=True)
        assert len(grade_turns(perfect)) == 5
        assert set(oracle_outcomes(perfect).values()) == {1.0}


def test_the_mean_is_the_oracle_s_score():
    for number in range(20):
        conversation = converse(4, number, 1.5, memory=number % 2 == 0)
        assert oracle_outcomes(conversation)[Outcome.MEAN] == pytest.approx(oracle_score([conversation])[0])


def test_users_with_memory_make_every_request_and_others_none():
    def kinds(memory):
        talks = [converse(5, number, 1.0, memory=memory) for number in range(40)]
        return {read_user(each.content).ask.kind for talk in talks for each in talk.messages if each.role == "user"}

    assert kinds(True) >= set(MemoryAsk)
    assert not kinds(False) & set(MemoryAsk)


@pytest.mark.parametrize("skill", ["perfect", "weak"])
def test_an_endpoint_names_users_with_memory(skill):
    model, known = load_model(f"sandbox:{skill}+memory"), SandboxModel(skill, memory=True)
    assert model.name == known.name == f"sandbox:{skill}+memory"
    history = talk(*FIRST, *OTHER)
    said = [
        [each.answer(ChatRequest(messages=render_user(history), seed=seed)) for seed in range(30)]
        for each in (model, known, SandboxModel(skill))
    ]
    assert said[0] == said[1] != said[2]
    assert {read_user(text).ask.kind for text in said[0]} & set(MemoryAsk)


def contrasted(strategy, asked, seed=1):
    request = ChatRequest(messages=render_contrast(strategy, asked), seed=seed)
    instruction, response = read_contrast(SandboxModel("perfect").answer(request), asked.messages[-1].content)
    assert instruction != asked.messages[-1].content
    return response


CONTRASTED = {
    ContrastStrategy.CONTRADICT: ((*FIRST, *OTHER, "What did you say in turn one?"), ErrorKind.CONTRADICTION),
    ContrastStrategy.IGNORE_CORRECTION: (
        (*FIRST, "Wrong hobby, that was. Please do it right this time."),
        ErrorKind.CORRECTION,
    ),
    ContrastStrategy.LOSE_GOAL: ((PLAN, "Sure. Plan rose cost early.", "And the next side?"), ErrorKind.STEP),
}


@pytest.mark.parametrize("strategy", list(CONTRASTED))
def test_each_contrast_makes_its_error(strategy):
    texts, error = CONTRASTED[strategy]
    for seed in range(10):
        assert grade_turns(talk(*texts, contrasted(strategy, talk(*texts), seed)))[-1].errors == (error,)


def test_a_contradiction_is_what_another_reply_said():
    texts, _ = CONTRASTED[ContrastStrategy.CONTRADICT]
    assert "rose gear" in contrasted(ContrastStrategy.CONTRADICT, talk(*texts))


@pytest.mark.parametrize("strategy", list(CONTRASTED))
def test_where_a_contrast_does_not_apply_it_misses_the_request(strategy):
    asked = talk(*FIRST, "And what about the gear?")
    assert contrasted(strategy, asked) == contrasted(ContrastStrategy.INSTRUCTION, asked)


def test_the_other_contrasts_are_wrong_for_requests_of_users_with_memory_too():
    for strategy in (ContrastStrategy.INSTRUCTION, ContrastStrategy.PERSONA_SWAP):
        for texts, _ in CONTRASTED.values():
            assert grade_turns(talk(*texts, contrasted(strategy, talk(*texts))))[-1].errors


def test_seed_pairs_of_users_with_memory_differ_in_the_last_reply():
    pairs = seed_pairs(200, 3, single_turn_share=0.2, memory=True)
    asked = {read_user(pair.chosen.messages[-2].content).ask.kind for pair in pairs}
    assert asked >= set(MemoryAsk)
    for pair in pairs:
        assert pair.chosen.messages[:-1] == pair.rejected.messages[:-1]
    agree = [oracle_score([pair.chosen])[0] > oracle_score([pair.rejected])[0] for pair in pairs]
    assert 0.8 < sum(agree) / len(agree) < 1.0
