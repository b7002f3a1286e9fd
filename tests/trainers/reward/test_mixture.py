import pytest

from music.errors import InvalidInputError
from music.pairs import ContrastivePair, TurnContrast, Usage
from music.reward.tokens.encoding import ConversationTokenizer
from music_trainers.reward.mixture import Mixture, PairSource, TrainingData, check_exchanged, check_overlap


def test_every_source_is_accounted_for(make_tokenizer, make_pairs):
    tokens = ConversationTokenizer.from_tokenizer(make_tokenizer(), 512)
    margins = {"0": 0.5, "1": 1.5, "not there": 2.0}
    mixture = Mixture(
        (PairSource("a", make_pairs(10), 0.5, margins), PairSource("b", make_pairs(4, seed=1), 2.0)),
    )
    data = TrainingData.encode(tokens, mixture, [])
    encoded, accounts = data.train, data.sources
    assert len(encoded) == 14
    assert [pair.margin for pair in encoded[:3]] == [0.5, 1.5, 0.0]
    assert [(a.name, a.pairs.num_used, a.num_drawn, a.num_with_margin) for a in accounts] == [
        ("a", 10, 5, 2),
        ("b", 4, 8, 0),
    ]
    assert str(accounts[0]).endswith("weight 0.5, 5 an epoch, 2 with a margin")


def test_a_seed_is_held_out_of_all_sources(make_pairs):
    mixture = Mixture((PairSource("a", make_pairs(20)), PairSource("b", make_pairs(20), 2.0)))
    rest, held_out = mixture.split(0.2, seed=0)
    assert len(held_out) == 8
    assert [len(source.pairs) for source in rest.sources] == [16, 16]
    assert not {pair.id for pair in held_out} & {pair.id for pair in rest.pairs}
    assert [source.weight for source in rest.sources] == [1.0, 2.0]


@pytest.mark.parametrize("margin", ["big", -1.0, float("nan"), True])
def test_a_margin_without_sense_is_refused(margin):
    with pytest.raises(InvalidInputError, match=r"a: expected margins that are numbers >= 0, got .* \(pair 7\)"):
        PairSource("a", [], margins={"6": 0.5, "7": margin})


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan")])
def test_a_weight_without_sense_is_refused(weight):
    with pytest.raises(InvalidInputError, match="expected a weight"):
        PairSource("a", [], weight)


def renamed(pairs):
    return [pair.model_copy(update={"id": f"other-{pair.id}", "source": "other"}) for pair in pairs]


def test_pairs_are_compared_by_content_whatever_their_ids(make_pairs):
    pairs = make_pairs(8)
    with pytest.raises(InvalidInputError, match=r"all 5 held-out pairs are training pairs.*--eval-fraction"):
        check_overlap(pairs, renamed(pairs[:5]))


def test_some_shared_pairs_are_counted_and_none_are_not_mentioned(make_pairs):
    pairs, others = make_pairs(8), make_pairs(4, seed=1)
    assert check_overlap(pairs, renamed(pairs[:3]) + others).startswith("3 of 7 held-out pairs (--eval)")
    assert check_overlap(pairs, others) is None
    assert check_overlap(pairs, []) is None


def contrastive(pair, strategy):
    """Return a pair as a simulation or `music swap` writes it."""
    contrast = TurnContrast(turn=0, strategy=strategy, modified_instruction="Another request?")
    own = {"seed_id": pair.id, "num_seed_messages": 0, "models": {}, "usage": Usage(), "seed": 0}
    return ContrastivePair(id=pair.id, chosen=pair.chosen, rejected=pair.rejected, contrasts=(contrast,), **own)


def test_who_splits_swapped_pairs_is_told_to_split_conversations(make_pairs):
    pairs = make_pairs(3)
    assert "music swap --out DIR --eval-fraction" in check_exchanged([pairs[0], contrastive(pairs[1], "swap")])
    assert check_exchanged([pairs[0], contrastive(pairs[1], "instruction")]) is None
    assert check_exchanged([]) is None


def test_a_pair_with_its_sides_changed_over_is_another(make_pairs):
    pairs = make_pairs(2)
    turned = [pair.model_copy(update={"chosen": pair.rejected, "rejected": pair.chosen}) for pair in pairs]
    assert check_overlap(pairs, turned) is None
