import random

from music.reward.packing.prefix_cache import num_common
from music.reward.scoring.cached_scorer import merge_groups
from music.reward.scoring.sequence_scorer import group_alike

RNG = random.Random(0)


def tokens(num_tokens):
    return tuple(RNG.randrange(1000) for _ in range(num_tokens))


def test_counts_the_common_beginning():
    ids = tokens(100)
    for length in (0, 1, 50, 99, 100):
        assert num_common(ids, ids[:length]) == num_common(ids[:length], ids) == length
        assert num_common(ids, (*ids[:length], -1, *ids[length + 1 :])) == length


def test_finds_what_begins_alike_in_any_order():
    histories = [tokens(50) for _ in range(3)]
    sequences = [histories[i % 3] + tokens(10) for i in range(12)]
    alone = [tokens(40) for _ in range(2)]
    runs = group_alike([*alone, *sequences], 1000)
    expected = [[0], [1], [2, 5, 8, 11], [3, 6, 9, 12], [4, 7, 10, 13]]
    assert sorted(sorted(group) for (group,) in runs) == expected


def test_what_shares_only_a_few_tokens_stays_alone():
    beginning = tokens(4)
    sequences = [beginning + tokens(100) for _ in range(3)]
    assert sorted(group_alike(sequences, 1000)) == [[[0]], [[1]], [[2]]]


def test_a_long_history_is_shared_by_as_many_as_fit_beyond_it():
    history = tokens(500)
    sequences = [history + tokens(20) for _ in range(16)]
    (run,) = group_alike(sequences, 100)
    assert [len(group) for group in run] == [6, 6, 4]


def test_what_is_put_together_keeps_its_order_and_the_bound():
    sizes = [4, 4, 9, 1, 30, 2]
    assert merge_groups([[0], [3, 1], [2], [4], [5]], sizes, 10) == [[0, 3, 1], [2], [4], [5]]
    assert merge_groups([], sizes, 10) == []
