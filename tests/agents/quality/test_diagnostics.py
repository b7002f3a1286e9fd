import random

import pytest

from music_agents.quality import PairDiagnostics, diagnose_pairs
from music_agents.quality.word_classifier import MAX_PAIRS, MIN_PAIRS, WordSample

WORDS = [f"word{number}" for number in range(300)]


def draw(rng, low=10, high=30):
    return " ".join(rng.choices(WORDS, k=rng.randint(low, high)))


def even_pairs(make_pair, num, num_turns=3, **fields):
    """Pairs whose sides differ by luck alone."""
    rng = random.Random(0)
    sides = ([[draw(rng) for _ in range(num_turns)] for _ in range(2)] for _ in range(num))
    return [make_pair(*replies, index=index, **fields) for index, replies in enumerate(sides)]


def test_an_even_set_gets_no_warning(make_pair):
    found = diagnose_pairs(even_pairs(make_pair, 300), {"gate_leak": 3})
    assert found.warnings == ()
    assert found.num_pairs == found.tells.num_pairs == 300
    assert not found.tells.accuracy.excludes(0.5)
    assert found.tells.words == found.tells.openings == ()
    assert not found.length.words.excludes(0)
    assert (found.turns_contrasted, found.strategies) == (3, {"instruction": 900})
    assert "300 kept, 3 dropped (gate_leak 3)" in found.describe()
    assert PairDiagnostics.model_validate_json(found.model_dump_json()) == found


def test_a_planted_word_is_found(make_pair):
    rng = random.Random(1)
    pairs = []
    for index in range(200):
        chosen, rejected = [draw(rng) for _ in range(3)], [draw(rng) for _ in range(3)]
        if rng.random() < 0.8:
            chosen = [f"{reply} certainly" for reply in chosen]
        pairs.append(make_pair(chosen, rejected, index=index))
    found = diagnose_pairs(pairs)
    assert found.tells.accuracy.value > 0.75
    assert [tell.text for tell in found.tells.words] == ["certainly"]
    assert found.tells.words[0].log_odds > 1
    assert found.tells.words[0].num_rejected == 0
    assert any("'certainly'" in warning for warning in found.warnings)


def test_a_planted_opening_is_found_with_its_side(make_pair):
    pairs = even_pairs(make_pair, 100, num_turns=2)
    pairs = [
        make_pair([draw(random.Random(i))], [f"Great question! So {draw(random.Random(-i))}"], i) for i in range(100)
    ]
    found = diagnose_pairs(pairs)
    assert found.tells.openings[0].text == "great question so ..."
    assert found.tells.openings[0].log_odds < 0


def test_only_contrasted_turns_are_compared(make_pair):
    rng = random.Random(2)
    pairs = [
        make_pair([draw(rng), draw(rng) + " tell"], [draw(rng), draw(rng)], index=i, contrasted=[0]) for i in range(100)
    ]
    found = diagnose_pairs(pairs)
    assert found.tells.words == ()
    assert found.turns_contrasted == 1


def test_words_of_one_seed_do_not_help_with_its_other_pairs(make_pair):
    pairs = [
        make_pair([f"topic{i // 10} yes{i // 10}"], [f"topic{i // 10} no{i // 10}"], i, seed_id=f"s{i // 10}")
        for i in range(300)
    ]
    assert diagnose_pairs(pairs).tells.accuracy.value == pytest.approx(0.5, abs=0.05)


def test_a_longer_side_is_warned_of(make_pair):
    rng = random.Random(3)
    pairs = [make_pair([draw(rng, 10, 20)], [draw(rng, 25, 40)], index=i) for i in range(60)]
    found = diagnose_pairs(pairs)
    assert found.length.longer_is_rejected.value > 0.95
    assert found.length.words.value < -10
    assert found.length.standardised < -1
    assert any("length reveals the side" in warning for warning in found.warnings)
    assert any(warning.startswith("rejected replies are") for warning in found.warnings)


def test_refusals_of_one_side_are_warned_of(make_pair):
    rng = random.Random(4)
    sides = (([draw(rng)], [draw(rng)] if i % 4 else ["I'm sorry, but I can't help with that."]) for i in range(80))
    found = diagnose_pairs([make_pair(*replies, index=i) for i, replies in enumerate(sides)])
    assert (found.refusals["chosen"].value, found.refusals["rejected"].value) == (0, 0.25)
    assert any("25.0% of rejected" in warning for warning in found.warnings)


def test_repeats_and_personas_are_counted(make_pair):
    pairs = [
        make_pair(["a"], ["b"], i, seed_id=f"s{i % 2}", users=[f"hello {i % 3}"], persona="p" * (i % 2))
        for i in range(12)
    ]
    found = diagnose_pairs(pairs)
    assert found.repeats.num_contexts == 10
    assert found.repeats.num_first_messages == 6
    assert (found.personas.num_distinct, found.personas.num_without, found.personas.most_common) == (1, 6, 6)
    assert any("begin as an earlier one" in warning for warning in found.warnings)


def test_pairs_without_seed_messages_share_none(make_pair):
    pairs = [make_pair(["a"], ["b"], i).model_copy(update={"num_seed_messages": 0}) for i in range(4)]
    assert diagnose_pairs(pairs).repeats.num_contexts == 0


def test_many_drops_are_warned_of(make_pair):
    found = diagnose_pairs(even_pairs(make_pair, 4), {"gate_leak": 1, "reply_cut": 3})
    assert any("4 pairs were dropped, most by reply_cut" in warning for warning in found.warnings)


@pytest.mark.parametrize("num", [0, 1, MIN_PAIRS - 1])
def test_small_sets(make_pair, num):
    found = diagnose_pairs(even_pairs(make_pair, num))
    assert (found.num_pairs, found.tells, found.warnings) == (num, None, ())
    assert "too few pairs" in found.describe()


def test_the_sample_does_not_depend_on_the_order(make_pair, monkeypatch):
    monkeypatch.setattr("music_agents.quality.word_classifier.MAX_PAIRS", 60)
    pairs = even_pairs(make_pair, 150, num_turns=1)
    assert MAX_PAIRS == 2000
    forward, backward = WordSample(), WordSample()
    for pair in pairs:
        forward.add(pair)
    for pair in reversed(pairs):
        backward.add(pair)
    assert forward.shortcuts() == backward.shortcuts()
    assert forward.shortcuts().num_pairs == 60


def test_shares_are_shown_with_wilsons_interval(make_pair):
    shown = diagnose_pairs(even_pairs(make_pair, 2)).describe()
    assert "refusals   chosen 0.0% [0.0, 65.8], rejected 0.0% [0.0, 65.8]" in shown
    assert "+/-" not in shown


def test_an_interval_of_a_gap_turns_with_its_sign(make_pair):
    pairs = [make_pair(["one two"], ["one two three" + " four" * (i % 2)], i) for i in range(8)]
    assert "chosen replies are 1.5 words [1.1, 1.9] shorter" in diagnose_pairs(pairs).describe()
