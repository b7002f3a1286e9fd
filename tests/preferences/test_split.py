import random
import re

import pytest

from music import ContrastivePair, Conversation, InvalidInputError, PreferencePair, Usage
from music.preferences import split_pairs


def pair(prompt, index, seed_id=None, seed_messages=2):
    seed = Conversation().user(prompt).assistant("Sure.")
    sides = {"chosen": seed.user("And?").assistant(f"Good {index}"), "rejected": seed.user("And?").assistant("Bad")}
    if seed_id is None:
        return PreferencePair(id=str(index), **sides)
    record = {"num_seed_messages": seed_messages, "contrasts": (), "models": {}, "usage": Usage(), "seed": 0}
    return ContrastivePair(id=str(index), seed_id=seed_id, **sides, **record)


BASE = [pair(f"Prompt {i % 40}", i) for i in range(100)]
SIMULATED = [pair(f"prompt  {i % 40} ", 100 + i, seed_id=str(i)) for i in range(100)]
PAIRS = BASE + SIMULATED


def prompts(side):
    return {" ".join(p.chosen.messages[0].content.lower().split()) for p in side}


def test_no_seed_conversation_is_on_both_sides_and_no_pair_is_lost():
    train, held_out = split_pairs(PAIRS, 0.2)
    assert not prompts(train) & prompts(held_out)
    assert sorted(int(p.id) for p in train + held_out) == list(range(200))
    assert 30 <= len(held_out) <= 40


def test_split_depends_on_the_seed_but_not_on_the_order():
    shuffled = random.Random(0).sample(PAIRS, len(PAIRS))
    held_out = {p.id for p in split_pairs(PAIRS, 0.2, seed=1).held_out}
    assert {p.id for p in split_pairs(shuffled, 0.2, seed=1).held_out} == held_out
    assert {p.id for p in split_pairs(PAIRS, 0.2, seed=2).held_out} != held_out


def test_pairs_simulated_from_no_user_message_go_by_their_seed_id():
    simulated = [pair(f"Opening {i}", i, seed_id=str(i % 5), seed_messages=0) for i in range(20)]
    train, held_out = split_pairs(simulated, 0.5)
    assert held_out
    assert not {p.seed_id for p in train} & {p.seed_id for p in held_out}


def test_nothing_held_out_when_nothing_is_asked():
    assert split_pairs(PAIRS, 0.0) == (tuple(PAIRS), ())


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 3])
def test_fraction_out_of_range_is_refused(fraction):
    with pytest.raises(InvalidInputError, match="fraction"):
        split_pairs(PAIRS, fraction)


def test_too_few_seed_conversations_are_an_error_not_an_empty_split():
    with pytest.raises(InvalidInputError, match=r"10 pairs \(seed conversations: 1\).*more pairs, held-out"):
        split_pairs([pair("One", i) for i in range(10)], 0.3)


@pytest.mark.parametrize("num", [2, 3, 7, 8, 19])
def test_the_fraction_that_is_advised_for_few_pairs_works(num):
    few = PAIRS[:num]
    with pytest.raises(InvalidInputError, match=f"{num} pairs .* are too few to hold out 0.05 of them") as refusal:
        split_pairs(few, 0.05)
    advised = re.search(r"at least ([\d.]+) \(--eval-fraction\)", str(refusal.value))
    assert split_pairs(few, float(advised[1])).held_out
