from itertools import islice

from music.conversation import Conversation
from music.pairs import PreferencePair
from music.reward.tokens import ConversationTokenizer
from music_trainers.data import EncodedPair, encode_pairs, iterate_batches, micro_batches, num_batches


def test_every_pair_is_used_or_counted_by_reason(make_tokenizer, make_pairs):
    tokens = ConversationTokenizer.from_tokenizer(make_tokenizer(), 80)
    last = Conversation().user("one").assistant("two " * 12)
    long_ago = [Conversation().user("city").assistant(f"{word} " * 25) for word in ("warm", "cold")]
    pairs = [
        *make_pairs(3, num_turns=1),
        PreferencePair(id="over", chosen=last, rejected=Conversation().user("one").assistant("walk " * 200)),
        PreferencePair(
            id="same",
            chosen=Conversation(messages=long_ago[0].messages + last.messages),
            rejected=Conversation(messages=long_ago[1].messages + last.messages),
        ),
        PreferencePair(
            id="cut", chosen=Conversation(messages=long_ago[0].messages + last.messages), rejected=long_ago[1]
        ),
    ]
    encoded, account = encode_pairs(tokens, pairs)
    assert account.model_dump() == {
        "num_read": 6,
        "num_used": 4,
        "num_truncated": 1,
        "num_dropped": {"over_long": 1, "identical_after_truncation": 1},
    }
    assert len(encoded) == 4
    assert str(account) == "6 read, 4 used (1 truncated), dropped: 1 identical_after_truncation, 1 over_long"


def test_an_epoch_visits_every_pair_once_in_batches_of_like_size():
    lengths = [(7 * i) % 50 for i in range(101)]
    batches = list(islice(iterate_batches(lengths, 8, seed=0), num_batches(101, 8)))
    assert sorted(i for batch in batches for i in batch) == list(range(101))
    assert {len(batch) for batch in batches} == {7, 8}


def test_batches_hold_pairs_of_like_length():
    lengths = [(37 * i) % 128 for i in range(128)]
    batches = list(islice(iterate_batches(lengths, 8, seed=0), 16))
    assert all(max(lengths[i] for i in batch) - min(lengths[i] for i in batch) < 8 for batch in batches)
    starts = [min(lengths[i] for i in batch) for batch in batches]
    assert starts != sorted(starts)


def test_the_order_follows_from_the_seed_and_can_be_entered_anywhere():
    lengths = list(range(50))
    first = list(islice(iterate_batches(lengths, 8, seed=1), 20))
    assert first == list(islice(iterate_batches(lengths, 8, seed=1), 20))
    assert first[:7] != first[7:14]
    assert first != list(islice(iterate_batches(lengths, 8, seed=2), 20))
    for start in (3, 7, 16):
        assert list(islice(iterate_batches(lengths, 8, seed=1, start=start), 4)) == first[start : start + 4]


def test_micro_batches_keep_within_the_budget_and_lose_nothing():
    pairs = [EncodedPair([1] * n, [1] * (n // 2)) for n in (3, 50, 9, 9, 12, 30, 31)]
    parts = micro_batches(pairs, 100)
    assert sorted(p.length for part in parts for p in part) == sorted(p.length for p in pairs)
    assert all(len(part) == 1 or 2 * len(part) * max(p.length for p in part) <= 100 for part in parts)
    assert len(parts) < len(pairs)
