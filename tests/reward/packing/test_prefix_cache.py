from hypothesis import given
from hypothesis import strategies as st

from music.reward.packing.prefix_cache import PrefixCache, num_common

sequences = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12).map(tuple), min_size=1, max_size=30)


def slots_of(span):
    return [slot for each in span.path() for slot in each.slots]


def kept(cache, ids):
    """Return the tokens that the path to a sequence's longest kept beginning spells."""
    return [token for span in cache.find(ids).path() for token in span.ids]


@given(sequences)
def test_finds_the_longest_beginning_with_each_token_in_a_slot_of_its_own(added):
    cache, token_of = PrefixCache(1000), {}
    for number, ids in enumerate(added):
        cache.begin()
        longest = max((num_common(ids, other) for other in added[:number]), default=0)
        assert cache.find(ids).stop == longest
        num_known, slots = cache.add(ids)
        assert (num_known, len(slots)) == (longest, len(ids) - longest)
        assert not token_of.keys() & set(slots)
        token_of |= {slot: ids[: longest + n + 1] for n, slot in enumerate(slots)}
    for ids in added:
        assert [token_of[slot] for slot in slots_of(cache.find(ids))] == [ids[: n + 1] for n in range(len(ids))]
    assert len(token_of) == cache.num_slots == len({ids[:n] for ids in added for n in range(1, len(ids) + 1)})


@given(sequences, st.integers(0, 15), st.integers(1, 4))
def test_never_holds_more_than_it_may_nor_two_tokens_in_one_slot(added, max_tokens, num_at_once):
    cache = PrefixCache(max_tokens)
    for start in range(0, len(added), num_at_once):
        cache.begin()
        in_use = {}
        for ids in added[start : start + num_at_once]:
            cache.add(ids)
            path = slots_of(cache.find(ids))
            assert kept(cache, ids) == list(ids[: len(path)])
            assert all(in_use.setdefault(slot, ids[: n + 1]) == ids[: n + 1] for n, slot in enumerate(path))
        assert set(in_use) <= set(range(max_tokens))
    assert cache.num_slots <= max_tokens


def test_the_least_recently_used_goes_first_and_from_its_end():
    cache = PrefixCache(9)
    for ids in [(1, 1, 1, 1), (2, 2, 2), (1, 1, 5)]:
        cache.begin()
        cache.add(ids)
    cache.begin()
    cache.add((7, 7))
    assert [len(kept(cache, ids)) for ids in [(1, 1, 1, 1), (2, 2, 2), (1, 1, 5), (7, 7)]] == [2, 3, 3, 2]


def test_what_was_used_in_the_same_scoring_stays_and_what_has_no_room_is_kept_in_part():
    cache = PrefixCache(5)
    cache.begin()
    assert cache.add((1, 2, 3)) == (0, [0, 1, 2])
    assert cache.add((4, 5, 6)) == (0, [3, 4])
    assert cache.add((7,)) == (0, [])
    cache.begin()
    cache.find((4, 5, 6))
    cache.add((7, 8, 9, 9))
    assert [kept(cache, ids) for ids in [(1, 2, 3), (4, 5, 6), (7, 8, 9, 9)]] == [[], [4, 5], [7, 8, 9]]


def test_what_was_used_again_outlives_what_was_not():
    """Ages are looked up late, so a use between two scorings must still count."""
    cache = PrefixCache(6)
    for scoring in ([1, 1], [2, 2], [3, 3]):
        cache.begin()
        cache.add(tuple(scoring))
    cache.begin()
    cache.find((1, 1))
    cache.begin()
    cache.add((4, 4))
    cache.begin()
    assert [cache.find((n, n)).stop for n in (1, 2, 3, 4)] == [2, 0, 2, 2]
    cache.begin()
    cache.add((5, 5, 5, 5, 5, 5))
    assert [cache.find((n, n)).stop for n in (1, 3, 4, 5)] == [0, 0, 0, 2]
