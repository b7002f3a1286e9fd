import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from music.reward.packing import TokenSequence, plan_rows
from music.reward.packing.rows import balance

Group = list[TokenSequence]


def sequences() -> st.SearchStrategy[TokenSequence]:
    ids = st.lists(st.integers(0, 1), min_size=1, max_size=40)
    return ids.flatmap(
        lambda ids: st.lists(st.integers(0, len(ids) - 1), unique=True).map(
            lambda reads: TokenSequence(ids, tuple(sorted(reads)))
        )
    )


groups_of_sequences = st.lists(st.lists(sequences(), min_size=1, max_size=4), max_size=12)


@given(groups_of_sequences, st.integers(1, 200), st.sampled_from([None, 1, 16]))
def test_groups_stay_whole_and_rows_within_bounds(groups: list[Group], max_tokens: int, min_saved: int | None):
    plan = plan_rows(groups, max_tokens, min_saved=min_saved)
    assert sorted(group for row in plan.rows for group in row.groups) == list(range(len(groups)))
    largest = max((tree.num_tokens for row in plan.rows for tree in row.trees), default=0)
    assert all(0 < row.num_tokens <= max(max_tokens, largest) for row in plan.rows)
    assert plan.num_tokens <= plan.num_sequence_tokens == sum(len(each.ids) for group in groups for each in group)
    assert 0 < plan.fill <= 1
    if min_saved is None:
        assert plan.num_tokens == plan.num_sequence_tokens


@given(groups_of_sequences, st.integers(1, 200))
def test_reads_point_to_the_right_tokens(groups: list[Group], max_tokens: int):
    for row in plan_rows(groups, max_tokens, min_saved=1).rows:
        ids, positions, reads = row.input_ids(), row.positions(), row.reads()
        assert len(ids) == len(positions) == row.num_tokens
        wanted = [(each.ids[read], read) for group in row.groups for each in groups[group] for read in each.reads]
        assert list(zip(ids[reads].tolist(), positions[reads].tolist(), strict=True)) == wanted


@given(groups_of_sequences, st.integers(1, 200))
def test_rewards_are_sorted_by_group_and_sequence(groups: list[Group], max_tokens: int):
    for row in plan_rows(groups, max_tokens).rows:
        parts = row.split(row.reads())
        assert [[len(part) for part in group] for group in parts] == [
            [len(sequence.reads) for sequence in groups[group]] for group in row.groups
        ]
        assert torch.equal(torch.cat([part for group in parts for part in group]), row.reads())


def test_reads_in_a_shared_prefix_point_to_the_same_place():
    shared = list(range(40))
    group = [TokenSequence([*shared, 50 + k, 60], (10, 39, 40, 41)) for k in range(2)]
    (row,) = plan_rows([group], 100).rows
    assert row.num_tokens == 44
    assert row.reads().tolist() == [10, 39, 40, 41, 10, 39, 42, 43]


def test_groups_that_begin_alike_store_that_beginning_once():
    system, others = list(range(30)), list(range(50, 90))
    groups = [
        [TokenSequence([*system, 100 + i, *range(30), 200 + k], (30, 61)) for k in range(2)] for i in range(3)
    ] + [[TokenSequence.read_at_end(others)]]
    (row,) = plan_rows(groups, 1000).rows
    assert row.num_tokens == 30 + 3 * (31 + 2) + 40
    assert len(row.trees) == 2
    assert plan_rows(groups, 1000, min_saved=31).num_tokens == 3 * (30 + 31 + 2) + 40  # each pair by itself
    assert sorted(row.groups) == [0, 1, 2, 3]
    ids, positions = row.input_ids(), row.positions()
    for group, of_group, places in zip(row.groups, row.split(row.reads()), row.places(), strict=True):
        for sequence, reads, own in zip(groups[group], of_group, places, strict=True):
            assert ids[own].tolist() == list(sequence.ids)
            assert positions[own].tolist() == list(range(len(sequence.ids)))
            assert ids[reads].tolist() == [sequence.ids[read] for read in sequence.reads]


def test_groups_behind_a_cache_are_not_joined():
    groups = [[TokenSequence([1] * 40 + [2 + k], ())] for k in range(3)]
    (row,) = plan_rows(groups, 1000, num_cached=[0, 0, 0]).rows
    assert len(row.trees) == 3


def test_no_groups_are_no_rows():
    plan = plan_rows([], 100)
    assert plan.rows == ()
    assert plan.fill == 1


def realistic_group(rng: random.Random, median: int, sigma: float) -> Group:
    """Draw a pair of lognormal length, of which 55 to 85 % are shared."""
    length = median * rng.lognormvariate(0, sigma)
    shared = rng.choices(range(2, 10), k=int(length * rng.uniform(0.55, 0.85)))
    own = [max(1, int((length - len(shared)) * rng.uniform(0.7, 1.3))) for _ in range(2)]
    return [TokenSequence.read_at_end(shared + [k] * num_own) for k, num_own in enumerate(own)]


@pytest.mark.parametrize("median", [200, 300, 400])
@pytest.mark.parametrize("max_tokens", [2_048, 4_096, 8_192, 16_384])
def test_fill_on_realistic_batches(median: int, max_tokens: int):
    for seed in range(3):
        rng = random.Random(seed)
        plan = plan_rows([realistic_group(rng, median, sigma=0.4) for _ in range(64)], max_tokens)
        assert plan.fill >= 0.97


@given(st.lists(st.integers(1, 3_000), min_size=1, max_size=80), st.integers(1, 8_000))
def test_fill_falls_short_only_where_a_group_is_about_as_long_as_a_row(sizes: list[int], limit: int):
    bins = balance(sizes, limit)
    loads = [sum(sizes[item] for item in items) for items in bins]
    assert sorted(item for items in bins for item in items) == list(range(len(sizes)))
    assert loads == sorted(loads, reverse=True)
    assert loads[0] <= max(limit, max(sizes))
    # No exchange is left that would help: the fullest and the emptiest differ by no more than the smallest item there.
    assert loads[0] - loads[-1] <= min(sizes[item] for item in bins[0])


def test_thousands_of_groups_are_dealt_out_at_once():
    rng = random.Random(0)
    sizes = [int(300 * rng.lognormvariate(0, 0.6)) for _ in range(10_000)]
    loads = [sum(sizes[item] for item in items) for items in balance(sizes, 2_048)]
    assert sum(loads) / (len(loads) * max(loads)) > 0.97
