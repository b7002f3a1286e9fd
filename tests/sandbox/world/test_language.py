"""Every act survives the way through its text, and every word stands for one thing."""

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from music.sandbox.world import phrases
from music.sandbox.world.language import read_reply, read_user, write_reply, write_user
from music.sandbox.world.vocabulary import (
    ASPECTS,
    FACTS,
    LEXICON,
    STANDING,
    TOPICS,
    Ask,
    AskKind,
    Fact,
    Reply,
    Standing,
    Statement,
    Tip,
    UserAct,
)

topics, aspects, counts = st.sampled_from(TOPICS), st.sampled_from(ASPECTS), st.sampled_from([1, 2, 3])
asks = st.one_of(
    st.builds(Ask, st.just(AskKind.NEW), topics, aspects, counts),
    st.builds(Ask, st.just(AskKind.EXPANSION), aspect=aspects),
    st.builds(Ask, st.just(AskKind.SWAP), topic=topics),
    st.builds(Ask, st.just(AskKind.REFINEMENT), count=counts),
    st.builds(Ask, st.just(AskKind.FOLLOW_UP)),
    st.builds(Ask, st.just(AskKind.RECOLLECTION), fact=st.sampled_from(list(Fact))),
)
values = {**STANDING, **FACTS}
statements = st.lists(st.sampled_from([*Standing, *Fact]), unique=True).flatmap(
    lambda abouts: st.tuples(*(st.sampled_from(values[a]).map(lambda v, a=a: Statement(a, v)) for a in abouts))
)
seeds = st.integers(0, 2**32)


@given(asks, statements, seeds, st.sampled_from(["", "Hi!", "Perfect, thanks."]))
def test_user_acts_are_read_back(ask, said, seed, opening):
    act = UserAct(ask, said)
    read = read_user(write_user(act, random.Random(seed), opening))
    assert read is not None
    assert read.ask == ask
    assert set(read.statements) == set(said)


@given(
    st.builds(Tip, topics, aspects),
    st.integers(0, 3),
    st.one_of(st.none(), st.sampled_from([Statement(f, v) for f in Fact for v in FACTS[f]])),
    st.one_of(st.none(), st.sampled_from(STANDING[Standing.ADDRESS])),
    st.lists(st.sampled_from(STANDING[Standing.AVOID]), max_size=1).map(tuple),
    st.one_of(st.none(), st.sampled_from(STANDING[Standing.END])),
    seeds,
)
def test_replies_are_read_back(item, count, fact, name, resources, ending, seed):
    said = Reply((item,) * count, fact, name, resources, ending)
    assert read_reply(write_reply(said, random.Random(seed))) == said


def test_no_word_of_the_lexicon_stands_in_a_template():
    templates = [t for group in phrases.ASKS.values() for t in group]
    templates += [t for group in phrases.STATEMENTS.values() for t in group]
    templates += [t for group in phrases.FEEDBACK.values() for t in group]
    templates += [t for group in phrases.RECALLS.values() for t in group]
    templates += [*phrases.TIPS, *phrases.RESOURCES, *phrases.OPENERS, *phrases.GREETINGS]
    for template in templates:
        words = re.findall(r"[a-z]+", re.sub(r"\{[a-z]+\}", "", template.lower()))
        assert not set(words) & set(LEXICON), template


def test_every_word_stands_for_one_thing():
    groups = (TOPICS, ASPECTS, *STANDING.values(), *FACTS.values())
    words = [word.lower() for group in groups for word in group]
    assert len(words) == len(set(words))


@pytest.mark.parametrize(
    "text", ["What is the capital of France?", "And for jazz?", "Hi!", "", "How about safety? And more?"]
)
def test_text_of_another_world_is_not_read(text):
    assert read_user(text) is None


def test_a_model_s_own_words_are_graded_too():
    reply = read_reply("Well, Nora, my tip: the cost of camping matters! Also think of camping gear, er, cost. Cheers!")
    assert reply.name == "Nora"
    assert reply.ending == "Cheers"
    assert reply.tips == (Tip("camping", "cost"), Tip("camping", "cost"))
