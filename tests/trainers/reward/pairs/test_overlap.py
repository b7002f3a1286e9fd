import pytest

from music.errors import InvalidInputError
from music_trainers.reward.pairs.overlap import require_apart


def renamed(pairs):
    return [pair.model_copy(update={"id": f"other-{pair.id}", "source": "other"}) for pair in pairs]


def test_pairs_are_compared_by_content_whatever_their_ids(make_pairs):
    pairs = make_pairs(8)
    with pytest.raises(InvalidInputError, match=r"all 5 held-out pairs are training pairs.*--eval-fraction"):
        require_apart(pairs, renamed(pairs[:5]))


def test_some_shared_pairs_are_counted_and_none_are_not_mentioned(make_pairs):
    pairs, others = make_pairs(8), make_pairs(4, seed=1)
    assert require_apart(pairs, renamed(pairs[:3]) + others).startswith("3 of 7 held-out pairs (--eval)")
    assert require_apart(pairs, others) is None
    assert require_apart(pairs, []) is None


def test_a_pair_with_its_sides_changed_over_is_another(make_pairs):
    pairs = make_pairs(2)
    turned = [pair.model_copy(update={"chosen": pair.rejected, "rejected": pair.chosen}) for pair in pairs]
    assert require_apart(pairs, turned) is None
