from music.reward.packing import TokenSequence, plan_rows
from music_trainers.reward.pairs.encoding import EncodedPair
from music_trainers.reward.pairs.groups import group_by_chosen, group_by_seed


def pair(chosen, rejected, seed="seed"):
    return EncodedPair(TokenSequence.read_at_end(chosen), TokenSequence.read_at_end(rejected), seed=seed)


PREFIX = list(range(100))


def test_pairs_of_one_seed_share_what_they_begin_with():
    pairs = [pair([*PREFIX, 200 + i], [*PREFIX, 300 + i]) for i in range(4)]
    (group,) = group_by_seed(pairs, 1000)
    assert group.pairs == tuple(pairs)
    assert plan_rows([group.sequences()], 1000).num_tokens == 100 + 8


def test_a_seed_with_more_than_a_row_holds_goes_into_several_groups():
    pairs = [pair([*PREFIX, *range(200, 250)], [*PREFIX, *range(300 + i, 350 + i)]) for i in range(10)]
    groups = group_by_seed(pairs, 400)
    assert [p for group in groups for p in group.pairs] == pairs
    assert len(groups) > 1
    assert all(row.num_tokens <= 400 for row in plan_rows([g.sequences() for g in groups], 400).rows)


def test_other_seeds_go_apart():
    pairs = [pair([1, 2], [1, 3], "a"), pair([4, 2], [4, 3], "b"), pair([1, 5], [1, 6], "a")]
    assert [len(group.pairs) for group in group_by_seed(pairs, 1000)] == [2, 1]


def test_pairs_with_the_same_chosen_side_are_ranked_together():
    pairs = [pair([1, 2], [1, 3]), pair([1, 4], [1, 3]), pair([1, 2], [1, 5])]
    assert [group.pairs for group in group_by_chosen(pairs)] == [(pairs[0], pairs[2]), (pairs[1],)]


def test_a_pair_that_is_drawn_twice_ranks_once_in_each_of_two_groups():
    first, second = pair([1, 2], [1, 3]), pair([1, 2], [1, 5])
    groups = group_by_chosen([first, second, first, second])
    assert [group.pairs for group in groups] == [(first, second)] * 2
