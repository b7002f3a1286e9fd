import pytest

from music.judges.reliability import cyclic_triples, pairwise_figures


def by_name(figures):
    return {figure.name: figure for figure in figures}


def test_figures_on_a_hand_computed_set(said):
    matches = [
        {(0, 1): said("AB", "BB")},  # sample 1: a winner; sample 2: whichever is second
        {(0, 1): said("AA", "AC")},
        {(0, 1): said("C-", "B-")},
    ]
    found = by_name(pairwise_figures(["0", "1", "2"], matches))
    # Winners: A B B B | A A A | B, of which A four times in eight.
    assert found["first shown wins"].estimate.value == pytest.approx(4 / 8)
    assert found["first shown wins"].num_items == 8
    # Same sample in both orders: AB BB | AA AC | CB, of which BB and AA follow the order.
    assert found["winner goes with the order"].estimate.value == pytest.approx(2 / 5)
    assert found["ties"].estimate.value == pytest.approx(2 / 10)
    # AB, BB, AA, AC; the unreadable ones make no pair.
    assert found["two samples agree"].estimate.value == pytest.approx(2 / 4)
    assert found["first shown wins"].estimate.num == 3
    assert found["cyclic triples"].estimate is None


def test_triples_go_round_in_a_circle_or_do_not(said):
    first, second, tie, unread = said("A", "B"), said("B", "A"), said("A", "A"), said("-", "B")
    assert list(cyclic_triples({(0, 1): first, (1, 2): first, (0, 2): second})) == [1.0]
    assert list(cyclic_triples({(0, 1): second, (1, 2): second, (0, 2): first})) == [1.0]
    assert list(cyclic_triples({(0, 1): first, (1, 2): first, (0, 2): first})) == [0.0]
    for undecided in (tie, unread):
        assert list(cyclic_triples({(0, 1): first, (1, 2): first, (0, 2): undecided})) == []
    four = {(0, 1): first, (1, 2): first, (0, 2): second, (0, 3): first, (1, 3): first, (2, 3): first}
    assert sorted(cyclic_triples(four)) == [0.0, 0.0, 0.0, 1.0]


def test_two_items_of_one_prompt_are_one_unit(said):
    matches = [{(0, 1): said("A", "B"), (1, 2): said("A", "B"), (0, 2): said("B", "A")}] * 2
    found = by_name(pairwise_figures(["p", "p"], matches))["cyclic triples"]
    assert (found.estimate.value, found.estimate.num, found.num_items, found.chance) == (1.0, 1, 2, 0.25)
