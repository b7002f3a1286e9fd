import random

import pytest

from music.evaluation.diagnostics.leakage import MIN_SIMILARITY, NearDuplicates, find_leakage, leakage_figures, phrases
from music.evaluation.diagnostics.pair_set import survey_pairs
from music.pairs import PreferencePair

SEED = "Could you give me three ideas on watercolor timing for a small garden?"
NEAR = "Hi! Could you give me three ideas on watercolor timing for a small garden, please?"
OTHER = "What is the weather like in the mountains of northern Spain in May?"


def pair(id, item):
    return PreferencePair(id=id, chosen=item.completions[0], rejected=item.completions[1])


def test_the_index_finds_what_a_plain_search_finds():
    rng = random.Random(0)
    words = [f"w{n}" for n in range(30)]
    texts = [" ".join(rng.choices(words, k=rng.randint(0, 12))) for _ in range(150)]
    for text in list(texts):
        changed = text.split()
        if len(changed) > 4:
            changed[rng.randrange(len(changed))] = rng.choice(words)
            texts.append(" ".join(changed))
    index = NearDuplicates(texts)
    num_found = 0
    for text in texts:
        own = phrases(text)
        plain = [(i, len(own & phrases(t)) / max(1, len(own | phrases(t)))) for i, t in enumerate(texts)]
        expected = [(i, pytest.approx(similarity)) for i, similarity in plain if similarity >= MIN_SIMILARITY]
        assert list(index.find(text)) == expected
        num_found += len(expected)
    assert num_found > len(texts) + 80  # each finds itself


def test_case_and_punctuation_do_not_hide_a_duplicate():
    assert list(NearDuplicates(["Tell me a story, please!"]).find("tell me - a STORY please")) == [(0, 1.0)]


def test_text_without_spaces_is_read_by_characters():
    assert list(NearDuplicates(["请给我讲一个关于狐狸的故事"]).find("请给我讲一个关于狼的故事"))
    assert not list(NearDuplicates(["请给我讲一个关于狐狸的故事"]).find("今天天气怎么样"))


def test_what_the_training_set_has_is_counted(make_pair):
    test = [
        make_pair("same", [SEED], "Good.", "Bad."),
        make_pair("near", [NEAR], "Good.", "Bad."),
        make_pair("pair", ["A pair."], "Good.", "Bad."),
        make_pair("swapped", ["Swapped."], "Good.", "Bad."),
        make_pair("new", [OTHER], "Good.", "Bad."),
    ]
    train = [
        pair("t0", make_pair("x", [SEED.upper()], "Fine.", "Poor.")),
        pair("t1", make_pair("x", [SEED], "Good.", "Poor.")),
        pair("t2", make_pair("x", ["A pair."], "Good.", "Bad.")),
        pair("t3", make_pair("x", ["Swapped."], "Bad.", "Good.")),
    ]
    leakage = find_leakage(test, train).leakage
    assert (leakage.num_train_pairs, leakage.num_train_prompts) == (4, 3)
    assert (leakage.num_same_seed, leakage.num_near_seed) == (3, 1)
    assert (leakage.num_same_side, leakage.num_same_pair, leakage.num_swapped_pair) == (3, 1, 1)
    (match,) = leakage.examples
    assert (match.id, match.other_id, match.text) == ("near", "t0", NEAR)
    assert match.similarity == pytest.approx(11 / 13, abs=1e-3)


def test_accuracy_with_and_without_what_was_seen_in_training(make_pair, score_pairs, by_name):
    test = [make_pair(n, [f"Seen {n}."], "Good.", "Bad.") for n in range(10)]
    test += [make_pair(f"new {n}", [f"New {n}."], "Good.", "Bad.") for n in range(10)]
    seen = {c for item in test[:10] for c in item.completions[:1]}
    pairs = score_pairs(test, lambda conversation: float(conversation in seen))
    leak = find_leakage(test, [pair(f"t{n}", item) for n, item in enumerate(test[:10])])
    figures = by_name(leakage_figures(pairs, leak))
    assert figures["seed in the training set"].estimate.value == 1.0
    assert figures["neither"].estimate.value == 0.0
    assert (figures["neither"].num_items, figures["seed nearly in it"].num_items) == (10, 0)


def test_duplicates_within_a_set(make_pair):
    items = [
        make_pair("a", [SEED], "Good.", "Bad."),
        make_pair("again", [SEED], "Good.", "Bad."),
        make_pair("swapped", [SEED], "Bad.", "Good."),
        make_pair("near", [NEAR], "Good.", "Bad."),
        make_pair("other", [OTHER, "Mild.", "And in June?"], "Warm.", "Not known."),
    ]
    found = survey_pairs(items)
    assert (found.num_pairs, found.num_prompts, found.num_multi_turn) == (5, 3, 1)
    duplicates = found.duplicates
    assert (duplicates.num_repeated, duplicates.num_contradicted) == (1, 3)
    assert (duplicates.num_same_seed, duplicates.num_near_seed) == (2, 1)
    assert [(match.id, match.other_id) for match in duplicates.examples] == [("near", "a")]


def test_lengths_and_turns_of_a_set(make_pair, by_name):
    items = [make_pair(n, [f"Question number {n}?"], "two words", "and three words") for n in range(8)]
    items += [make_pair("long", ["Hi.", "Hello!", "Well?"], "a rather long reply", "no")]
    found = survey_pairs(items)
    figures = by_name(found.figures)
    assert figures["the chosen side is the longer"].estimate.value == pytest.approx(1 / 9)
    assert figures["words, chosen less rejected"].estimate.value == pytest.approx((8 * -1 + 3) / 9)
    lengths, turns = found.histograms
    assert sum(lengths.counts["chosen"]) == sum(lengths.counts["rejected"]) == 9
    assert (turns.edges, turns.counts["chosen"]) == ((0.5, 1.5, 2.5), (8, 1))
