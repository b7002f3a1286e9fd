"""`RewardModel.with_prefix_cache`: conversations that grow, many at once."""

import pytest
from transformers import AutoModelForSequenceClassification

from music.errors import InvalidInputError
from music.reward import RewardModel
from music.reward.tokens.encoding import ConversationTokenizer

TOLERANCE = 1e-5


@pytest.fixture(scope="module", params=["llama", "gemma2"])
def model(request, reward_checkpoint):
    return RewardModel.from_pretrained(reward_checkpoint(request.param), device="cpu")


def growing(make_conversation, seeds=range(4), num_turns=5):
    """Return the scorings of conversations that grow turn by turn, all of them in each."""
    whole = [make_conversation(seed, num_turns=num_turns, num_words=12, system=seed % 2) for seed in seeds]
    return [[c.prefix(c.turn_ends[turn]) for c in whole] for turn in range(num_turns)]


@pytest.mark.parametrize("readout", ["last", "turn_mean"])
@pytest.mark.parametrize("max_length", [512, 110])
def test_with_a_prefix_cache_conversations_that_grow_score_as_whole_ones(
    model, make_conversation, count_tokens, readout, max_length
):
    """Also where exchanges are dropped from the left."""
    tokens = model.tokens.with_contract(readout=readout, max_length=max_length)
    plain = RewardModel(model._classifier, tokens, "cpu")
    cached, scorings = plain.with_prefix_cache(), growing(make_conversation)
    with count_tokens(plain) as num_plain:
        expected = [plain.score(scoring) for scoring in scorings]
    with count_tokens(cached) as num_cached:
        found = [cached.score(scoring) for scoring in scorings]
    for scores, wanted in zip(found, expected, strict=True):
        assert scores == pytest.approx(wanted, abs=TOLERANCE)
    assert sum(num_cached) < (0.5 if max_length == 512 else 0.8) * sum(num_plain)
    for turns, wanted in zip(cached.score_turns(scorings[-1]), plain.score_turns(scorings[-1]), strict=True):
        assert turns == pytest.approx(wanted, abs=TOLERANCE)
    dropped = {e.num_dropped_turns for scoring in scorings for e in plain.tokens.encode_all(scoring)}
    assert len(dropped) == (1 if max_length == 512 else 3)


def test_with_a_prefix_cache_a_history_that_the_template_rewrites_scores_as_a_whole(
    reward_checkpoint, make_tokenizer, make_conversation
):
    template = (
        "{% for m in messages %}<|{{ m['role'] }}|>{% if loop.last %}one two three{% endif %}{{ m['content'] }}<|end|>"
        "{% endfor %}"
    )
    tokens = ConversationTokenizer.from_tokenizer(make_tokenizer(template), 512)
    plain = RewardModel(AutoModelForSequenceClassification.from_pretrained(reward_checkpoint()), tokens, "cpu")
    cached = plain.with_prefix_cache()
    for scoring in growing(make_conversation):
        assert cached.score(scoring) == pytest.approx(plain.score(scoring), abs=TOLERANCE)


def test_readouts_share_a_cache(model, make_conversation, count_tokens):
    cached, conversations = model.with_prefix_cache(), growing(make_conversation)[-1]
    cached.score(conversations)
    with count_tokens(cached) as num_tokens:
        scores = cached.with_readout("turn_mean").score(conversations)
    assert num_tokens == []
    assert scores == pytest.approx(model.with_readout("turn_mean").score(conversations), abs=TOLERANCE)


def test_a_cache_without_room_is_refused(model):
    with pytest.raises(InvalidInputError, match="max_tokens of at least 1, got 0"):
        model.with_prefix_cache(max_tokens=0)
