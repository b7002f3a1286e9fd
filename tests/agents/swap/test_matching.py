import math
import re
from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from music_agents.contrasts import Schedule
from music_agents.swap import SwapConfig, matching
from music_agents.swap.matching import match_turns
from music_agents.swap.turns import TurnTable
from tests.agents.swap.conftest import talk

CONFIG = SwapConfig()
BROAD = SwapConfig(min_similarity=0.01, max_similarity=0.99)


def table_of(transcripts, schedule="all"):
    return TurnTable.of(transcripts, Schedule.parse(schedule), 0)


def cosines(requests):
    """Return the cosine of each two requests, computed word by word: (1 + ln tf) * (1 + ln((1 + n) / (1 + df)))."""
    counts = [Counter(re.findall(r"\w+", request.lower())) for request in requests]
    documents = Counter(word for count in counts for word in count)
    num = len(requests)
    vectors = []
    for count in counts:
        vector = {w: (1 + math.log(tf)) * (1 + math.log((1 + num) / (1 + documents[w]))) for w, tf in count.items()}
        norm = math.sqrt(sum(x * x for x in vector.values()))
        vectors.append({word: x / norm for word, x in vector.items()})
    return [[sum(x * other.get(word, 0) for word, x in one.items()) for other in vectors] for one in vectors]


def greedy(table, config):
    """Match turns by all pairs of them, the most similar first."""
    similarity, edges, partners = cosines(table.requests), [], {}
    for one, other in combinations(range(len(table)), 2):
        if (
            table.openings[one] != table.openings[other]
            and (table.turns[one] == 0) == (table.turns[other] == 0)
            and config.min_similarity <= similarity[one][other] <= config.max_similarity
        ):
            edges.append((-similarity[one][other], one, other))
    for _, one, other in sorted(edges):
        if one not in partners and other not in partners:
            partners |= {one: other, other: one}
    return partners, similarity


def test_the_most_similar_requests_are_matched_first():
    words = ["red", "green", "blue", "grey", "pink", "gold"]
    varied = [
        talk(f"v-{n}", (" ".join(words[: n % 5 + 1] + [f"own{n}"] * (1 + n % 3) + ["same"]), "Some reply of use."))
        for n in range(9)
    ]
    varied = [
        talk(one.id, (one.conversation.messages[0].content, f"Reply number {n}.")) for n, one in enumerate(varied)
    ]
    table = table_of(varied)
    matches = match_turns(table, BROAD)
    partners, similarity = greedy(table, BROAD)
    total = sum(similarity[one][other] for one, other in partners.items())
    assert {one: int(p) for one, p in enumerate(matches.partners) if p >= 0}.keys() == partners.keys()
    assert matches.similarities.sum() == pytest.approx(total, abs=1e-3)
    for one, partner in enumerate(matches.partners):
        if partner >= 0:
            assert matches.partners[partner] == one
            assert matches.similarities[one] == pytest.approx(similarity[one][partner], abs=1e-4)


@pytest.mark.parametrize(("block", "chunk"), [(8192, 2), (8192, 512), (10, 3)])
def test_every_match_keeps_the_rules_whatever_the_blocks(transcripts, monkeypatch, block, chunk):
    monkeypatch.setattr(matching, "BLOCK_TURNS", block)
    monkeypatch.setattr(matching, "CHUNK_TURNS", chunk)
    table = table_of(transcripts)
    config = SwapConfig(max_similarity=0.9)
    matches = match_turns(table, config)
    assert matches.num_matched >= 12
    for one in np.flatnonzero(matches.partners >= 0):
        partner = matches.partners[one]
        assert matches.partners[partner] == one
        assert table.conversations[one] != table.conversations[partner]
        assert (table.turns[one] == 0) == (table.turns[partner] == 0)
        assert config.min_similarity <= matches.similarities[one] <= config.max_similarity


def test_chunks_do_not_change_the_matches(transcripts, monkeypatch):
    table = table_of(transcripts)
    whole = match_turns(table, BROAD)
    monkeypatch.setattr(matching, "CHUNK_TURNS", 5)
    assert match_turns(table, BROAD).partners.tolist() == whole.partners.tolist()


ASKED = ("How do I make fine tea", "Warm the pot and wait.")
REFUSAL = "I'm sorry, but I can't help with that request."


@pytest.mark.parametrize(
    ("one", "other", "is_matched"),
    [
        ([ASKED], [("How do I make fine soup", "Boil some leeks, then stir.")], True),
        ([ASKED], [("how do I   make fine TEA", "Boil some leeks, then stir.")], False),
        ([ASKED], [("How do I make fine soup", "warm the  pot and WAIT.")], False),
        ([ASKED], [("How do I make fine soup", "Boil some leeks, then stir. " * 3)], False),
        ([ASKED], [("How do I make fine soup", REFUSAL)], False),
        ([ASKED], [("Where is Lyon", "In the south-east of it.")], False),
        ([("Hi", "Oh")], [("Yo", "Oh yes")], False),
        ([ASKED], [("Where is Lyon", "In France."), ("How do I make fine soup", "Boil some leeks, then stir.")], False),
        ([ASKED], [("How do I make fine soup", "Boil leeks. <|im_start|>assistant\n")], False),
    ],
    ids=[
        "alike",
        "same request",
        "same reply",
        "lengths",
        "refusal",
        "unlike",
        "nothing",
        "first and later",
        "unsound",
    ],
)
def test_what_may_be_swapped(one, other, is_matched):
    config = SwapConfig(min_similarity=0.2, max_similarity=0.95)
    table = table_of([talk("a", *one), talk("b", *other)])
    assert match_turns(table, config).num_matched == (2 if is_matched else 0)


def test_conversations_with_one_beginning_are_one_conversation():
    twins = [
        talk(n, ("Hello", f"Hi {n}"), (f"How do I make {n} tea at home", f"So, {n} again")) for n in ("one", "two")
    ]
    assert match_turns(table_of(twins), BROAD).num_matched == 0


def test_scripts_without_spaces_are_compared_by_character():
    table = table_of([talk("a", ("怎样泡好茶", "先温壶再泡。")), talk("b", ("怎样做好汤", "慢慢煮韭葱。"))])
    assert match_turns(table, BROAD).num_matched == 2


def test_requests_without_words_match_nothing():
    assert match_turns(table_of([talk("a", ("?", "Yes.")), talk("b", ("!!", "No."))]), BROAD).num_matched == 0
