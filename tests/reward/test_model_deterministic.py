"""`RewardModel.with_deterministic_scores`: the same bits, however a score is asked for."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from music.errors import InvalidInputError
from music.reward import RewardModel
from music.reward.tokens.encoding import ConversationTokenizer

TOLERANCE = 1e-5


@pytest.fixture(scope="module", params=["llama", "gemma2"])
def model(request, reward_checkpoint):
    return RewardModel.from_pretrained(reward_checkpoint(request.param), device="cpu")


def test_a_score_has_the_same_bits_however_it_is_asked_for(model, make_conversation):
    deterministic = model.with_deterministic_scores()
    conversations = [make_conversation(seed, num_turns=6, num_words=15) for seed in range(5)]
    scores = [model.with_deterministic_scores(0).score([each])[0] for each in conversations]
    assert scores == pytest.approx(model.score(conversations), abs=TOLERANCE)
    assert deterministic.score(conversations[::-1])[::-1] == scores
    assert [turns[-1] for turns in deterministic.score_turns(conversations)] == scores
    assert [each.score for each in deterministic.score_each(conversations, per_turn=True)] == scores
    for conversation, score in zip(conversations, scores, strict=True):
        *_, reply = conversation.to_messages()
        history = conversation.prefix(len(conversation.to_messages()) - 1)
        candidates = ["one", reply["content"], "two three"]
        assert deterministic.score_candidates(history, candidates)[1] == score
        assert deterministic.with_prefix_cache(500).session(history).score_candidates(candidates)[1] == score


def test_turns_have_the_bits_of_the_conversations_cut_there(model, make_conversation):
    deterministic, conversation = model.with_deterministic_scores(), make_conversation(7, num_turns=8, num_words=15)
    cut = [conversation.prefix(end) for end in conversation.turn_ends]
    assert deterministic.score_turns([conversation]) == [[deterministic.score([each])[0] for each in cut]]


def test_a_mixture_of_experts_has_reproducible_scores(make_tokenizer, make_conversation):
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    config = AutoConfig.for_model(
        "mixtral",
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=4,
        num_labels=1,
        pad_token_id=0,
    )
    classifier = AutoModelForSequenceClassification.from_config(config)
    plain = RewardModel(classifier.eval(), ConversationTokenizer.from_tokenizer(tokenizer, 512), "cpu")
    conversations = [make_conversation(seed, num_turns=6, num_words=15) for seed in range(5)]
    scores = [plain.with_deterministic_scores().score([each])[0] for each in conversations]
    deterministic = plain.with_deterministic_scores()
    deterministic.score_turns(conversations)
    assert deterministic.score(conversations[::-1])[::-1] == scores
    assert scores == pytest.approx(plain.score(conversations), abs=TOLERANCE)


def test_the_model_names_its_mode_and_keeps_it(model):
    deterministic = model.with_deterministic_scores(1000)
    assert "deterministic scores" in deterministic.description
    assert "deterministic" not in model.description
    assert deterministic.with_prefix_cache(500).is_deterministic
    assert deterministic.with_readout("turn_min").is_deterministic
    assert not model.with_prefix_cache().is_deterministic
    with pytest.raises(InvalidInputError, match="at least 0, got -1"):
        model.with_deterministic_scores(-1)
