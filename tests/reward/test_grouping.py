import random

import pytest

from music.reward.grouping import group_alike, num_common, score_sequences
from music.reward.packing import TokenSequence

RNG = random.Random(0)


def tokens(num_tokens):
    return [RNG.randrange(1000) for _ in range(num_tokens)]


def test_counts_the_common_beginning():
    ids = tokens(100)
    for length in (0, 1, 50, 99, 100):
        assert num_common(ids, ids[:length]) == num_common(ids[:length], ids) == length
        assert num_common(ids, [*ids[:length], -1, *ids[length + 1 :]]) == length


def test_finds_what_begins_alike_in_any_order():
    histories = [tokens(50) for _ in range(3)]
    sequences = [TokenSequence.read_at_end(histories[i % 3] + tokens(10)) for i in range(12)]
    alone = [TokenSequence.read_at_end(tokens(40)) for _ in range(2)]
    groups = group_alike([*alone, *sequences], 1000)
    expected = [[0], [1], [2, 5, 8, 11], [3, 6, 9, 12], [4, 7, 10, 13]]
    assert sorted(sorted(group) for group in groups) == expected


def test_what_shares_only_a_few_tokens_stays_alone():
    beginning = tokens(4)
    sequences = [TokenSequence.read_at_end(beginning + tokens(100)) for _ in range(3)]
    assert sorted(group_alike(sequences, 1000)) == [[0], [1], [2]]


def test_a_long_history_is_shared_by_as_many_as_fit_beyond_it():
    history = tokens(500)
    sequences = [TokenSequence.read_at_end(history + tokens(20)) for _ in range(16)]
    assert sorted(map(len, group_alike(sequences, 100))) == [4, 6, 6]


@pytest.mark.parametrize("max_tokens", [30, 10_000])
def test_every_sequence_gets_its_own_rewards_once_computed(max_tokens):
    """The reward of a token is its id here."""
    beginning = tokens(20)
    sequences = [TokenSequence(beginning + tokens(9), (3, 21, 28)) for _ in range(5)]
    sequences += [sequences[0], TokenSequence(sequences[0].ids, (2,))]
    reads = []

    def score_row(row):
        reads.append(len(row.reads()))
        return row.input_ids()[row.reads()].float()

    scores = score_sequences(score_row, sequences, max_tokens)
    assert scores == [[float(s.ids[read]) for read in s.reads] for s in sequences]
    assert sum(reads) == 5 * 3 + 1
    assert score_sequences(score_row, [], max_tokens) == []
