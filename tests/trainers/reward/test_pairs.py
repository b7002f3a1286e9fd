from music.conversation import Conversation
from music.pairs import PreferencePair
from music.reward.packing import TokenSequence, plan_rows
from music.reward.tokens.encoding import ConversationTokenizer
from music_trainers.reward.pairs import EncodedPair, encode_pairs, group_by_chosen, group_by_seed


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


def test_a_pair_with_a_reply_that_swallows_the_reward_token_is_counted(make_tokenizer):
    tokenizer = make_tokenizer("{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\\n' }}{% endfor %}")
    tokenizer.add_tokens(["\n\n"])
    tokens = ConversationTokenizer.from_tokenizer(tokenizer, 80)
    sides = [("Start small.", "No."), ("Start small.\n", "No."), ("Start small.", "No.\n")]
    pairs = [
        PreferencePair(id=str(i), chosen=turns(chosen), rejected=turns(rejected))
        for i, (chosen, rejected) in enumerate(sides)
    ]
    for every_turn in (False, True):
        encoded, account = encode_pairs(tokens, pairs, every_turn=every_turn)
        assert len(encoded) == 1
        assert account.num_dropped == {"reward_token_missing": 2}


def turns(*replies):
    conversation = Conversation()
    for index, reply in enumerate(replies):
        conversation = conversation.user(f"apple {index}").assistant(reply)
    return conversation


def test_both_sides_lose_the_same_exchanges(make_tokenizer):
    tokens = ConversationTokenizer.from_tokenizer(make_tokenizer(), 90)
    history = ("city " * 12, "plan " * 12)
    pair = PreferencePair(id="a", chosen=turns(*history, "three " * 12), rejected=turns(*history, "cold"))
    longer, shorter = (tokens.encode([side])[0].num_dropped_turns for side in (pair.chosen, pair.rejected))
    assert longer > shorter
    (encoded,), account = encode_pairs(tokens, [pair])
    assert account.num_truncated == 1
    body = turns(*history, "cold").messages[2 * longer :]
    assert list(encoded.rejected.ids) == tokens.encode([Conversation(messages=body)])[0].ids


def test_turns_are_matched_by_their_place_and_equal_ones_left_out(make_tokenizer):
    tokens = ConversationTokenizer.from_tokenizer(make_tokenizer(), 512)
    seed = "the same on both sides"
    pair = PreferencePair(id="a", chosen=turns(seed, "one", "two", "three"), rejected=turns(seed, "pear", "two"))
    (encoded,), _ = encode_pairs(tokens, [pair], every_turn=True)
    assert len(encoded.chosen.reads) == 4
    assert encoded.turns == ((1, 1), (2, 2))


def test_a_margin_belongs_to_a_pair(make_tokenizer, make_pairs):
    tokens = ConversationTokenizer.from_tokenizer(make_tokenizer(), 512)
    encoded, _ = encode_pairs(tokens, make_pairs(3), margins={"1": 0.5})
    assert [pair.margin for pair in encoded] == [0.0, 0.5, 0.0]


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
