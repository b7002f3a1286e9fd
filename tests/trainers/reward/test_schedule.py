from collections import Counter
from itertools import islice

import pytest

from music_trainers.reward.schedule import BatchSchedule


def schedule(lengths, seed=0, **settings):
    return BatchSchedule(lengths=lengths, batch_size=8, seed=seed, **settings)


def epoch(plan, number=0):
    return list(islice(plan.batches(number * plan.num_batches), plan.num_batches))


def test_an_epoch_visits_every_pair_once_in_batches_of_like_size():
    lengths = [(7 * i) % 50 for i in range(101)]
    batches = list(islice(schedule(lengths).batches(), schedule(lengths).num_batches))
    assert sorted(i for batch in batches for i in batch) == list(range(101))
    assert {len(batch) for batch in batches} == {7, 8}


def test_batches_hold_pairs_of_like_length():
    lengths = [(37 * i) % 128 for i in range(128)]
    batches = list(islice(schedule(lengths).batches(), 16))
    assert all(max(lengths[i] for i in batch) - min(lengths[i] for i in batch) < 8 for batch in batches)
    starts = [min(lengths[i] for i in batch) for batch in batches]
    assert starts != sorted(starts)


def test_the_order_follows_from_the_seed_and_can_be_entered_anywhere():
    lengths = list(range(50))
    first = list(islice(schedule(lengths, seed=1).batches(), 20))
    assert first == list(islice(schedule(lengths, seed=1).batches(), 20))
    assert first[:7] != first[7:14]
    assert first != list(islice(schedule(lengths, seed=2).batches(), 20))
    for start in (3, 7, 16):
        assert list(islice(schedule(lengths, seed=1).batches(start), 4)) == first[start : start + 4]


def test_a_source_gives_as_many_pairs_as_its_weight_says_drawn_anew_in_each_epoch():
    plan = schedule([1] * 50, sources=[(10, 2.0), (20, 0.5), (20, 1.25)])
    assert plan.num_pairs == 20 + 10 + 25
    halves = []
    for number in range(2):
        counts = Counter(i for batch in epoch(plan, number) for i in batch)
        assert all(counts[i] == 2 for i in range(10))
        halves.append({i for i in range(10, 30) if counts[i]})
        assert all(counts[i] == 1 for i in halves[-1])
        assert sorted(counts[i] for i in range(30, 50)) == [1] * 15 + [2] * 5
    assert len(halves[0]) == len(halves[1]) == 10
    assert halves[0] != halves[1]


def test_clusters_stay_together():
    clusters = [f"seed {i % 25}" for i in range(100)]
    batches = epoch(schedule([1] * 100, clusters=clusters))
    assert sorted(i for batch in batches for i in batch) == list(range(100))
    split = sum(
        len({clusters[i] for i in a} & {clusters[i] for i in b}) for a in batches for b in batches if a is not b
    )
    assert split <= 2 * len(batches)
    assert batches != epoch(schedule([1] * 100, clusters=clusters), 1)


@pytest.mark.parametrize("clusters", [None, [f"seed {i % 40}" for i in range(120)]])
def test_copies_of_a_pair_are_seen_in_different_steps_all_over_the_epoch(clusters):
    lengths = [(37 * i) % 128 for i in range(120)]
    plan = schedule(lengths, sources=[(40, 3.0), (80, 1.0)], clusters=clusters)
    batches = epoch(plan)
    assert sum(len(batch) - len(set(batch)) for batch in batches) <= 4
    counts = Counter(i for batch in batches for i in batch)
    assert [counts[i] for i in range(120)] == [3] * 40 + [1] * 80
    shares = [sum(i < 40 for i in batch) / len(batch) for batch in batches]
    assert min(shares) > 0
