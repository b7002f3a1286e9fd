from typing import get_args

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.reward import Readout, RewardModel, UnscorableError
from music.reward.tokens.encoding import ConversationTokenizer

TOLERANCE = 1e-5
OPENING = Conversation().user("What is the plan for the city?")
TURNS = [
    (["A walk.", "A walk in the city, if it is warm.", "No."], 1, "And if it is cold?"),
    (["No plan is good.", "Then we answer three short questions.", "apple " * 15], 2, "One more: name a fruit."),
    (["Pear.", "An apple is a fruit, and so is a pear."], 0, "Thanks. What was the plan?"),
    (["A walk.", "A walk if it is warm.", "A walk if it is warm."], 1, "Good!"),
    (["Yes."], 0, "Bye."),
]


@pytest.fixture(scope="module", params=["llama", "gemma2"])
def checkpoint(request, reward_checkpoint):
    return reward_checkpoint(request.param)


@pytest.fixture(scope="module")
def model(checkpoint):
    return RewardModel.from_pretrained(checkpoint, device="cpu")


@pytest.fixture(scope="module")
def reference(checkpoint, model):
    """Return the scores of whole conversations, one plain forward pass for each, in vanilla transformers."""
    classifier = AutoModelForSequenceClassification.from_pretrained(checkpoint).eval()

    def score(conversations):
        with torch.no_grad():
            return [classifier(torch.tensor([e.ids])).logits.item() for e in model.tokens.encode_all(conversations)]

    return score


def test_scores_are_those_of_whole_conversations_turn_after_turn(model, reference):
    """The history grows to five windows of the Gemma-2."""
    session = model.session(OPENING)
    for candidates, chosen, user in TURNS:
        whole = [session.history.assistant(candidate) for candidate in candidates]
        assert session.score_candidates(candidates) == pytest.approx(reference(whole), abs=TOLERANCE)
        session.extend(candidates[chosen], user)
    assert len(model.tokens.encode_all([session.history.assistant("Bye.")])[0].ids) > 5 * 24


def test_only_new_tokens_are_computed(model, count_tokens):
    session = model.session(OPENING)
    for candidates, chosen, user in TURNS:
        before = len(model.tokens.encode_all([session.history.assistant("x")])[0].ids)
        with count_tokens(model) as again:
            session.score_candidates(candidates)
            session.score_candidates(candidates)
        session.extend(candidates[chosen], user)
        with count_tokens(model) as num_tokens:
            session.score_candidates(["x"])
        history = len(model.tokens.encode_all([session.history.assistant("x")])[0].ids)
        assert sum(num_tokens) <= history - before + 4
        assert sum(again) <= history + 2 * sum(len(model.tokens.tokenizer(c)["input_ids"]) + 4 for c in candidates)


def test_the_mean_over_turns_goes_on_too(model):
    scorer = model.with_readout("turn_mean")
    session = scorer.session(OPENING)
    for candidates, chosen, user in TURNS:
        whole = [session.history.assistant(candidate) for candidate in candidates]
        assert session.score_candidates(candidates) == pytest.approx(scorer.score(whole), abs=TOLERANCE)
        session.extend(candidates[chosen], user)


@pytest.mark.parametrize("readout", get_args(Readout))
def test_beyond_the_length_limit_it_starts_afresh(model, readout):
    scorer = RewardModel(model._classifier, model.tokens.with_contract(max_length=90, readout=readout), "cpu")
    session = scorer.session(OPENING)
    dropped = set()
    for candidates, chosen, user in TURNS:
        whole = [session.history.assistant(candidate) for candidate in candidates]
        dropped |= {encoding.num_dropped_turns for encoding in scorer.tokens.encode_all(whole)}
        assert session.score_candidates(candidates) == pytest.approx(scorer.score(whole), abs=TOLERANCE)
        session.extend(candidates[chosen], user)
    assert len(dropped) > 2


def test_a_template_that_rewrites_the_history_costs_time_but_is_exact(checkpoint, make_tokenizer):
    template = (
        "{% for m in messages %}<|{{ m['role'] }}|>{% if loop.last %}one two three{% endif %}{{ m['content'] }}<|end|>"
        "{% endfor %}"
    )
    classifier = AutoModelForSequenceClassification.from_pretrained(checkpoint)
    model = RewardModel(classifier, ConversationTokenizer.from_tokenizer(make_tokenizer(template), 512), "cpu")
    session = model.session(OPENING)
    for candidates, chosen, user in TURNS:
        whole = [session.history.assistant(candidate) for candidate in candidates]
        assert session.score_candidates(candidates) == pytest.approx(model.score(whole), abs=TOLERANCE)
        session.extend(candidates[chosen], user)


@pytest.mark.filterwarnings("ignore:flex_attention called without")
def test_rows_that_are_filled_up_leave_nothing_in_the_cache(reward_checkpoint):
    """FlexAttention fills rows up to whole blocks; here it runs uncompiled."""
    path = reward_checkpoint("llama")
    model = RewardModel.from_pretrained(path, device="cpu")
    session = RewardModel.from_pretrained(path, device="cpu", attention="flex").session(OPENING)
    for candidates, chosen, user in TURNS[:2]:
        whole = [session.history.assistant(candidate) for candidate in candidates]
        with torch.compiler.set_stance("force_eager"):
            scores = session.score_candidates(candidates)
        assert scores == pytest.approx(model.score(whole), abs=TOLERANCE)
        session.extend(candidates[chosen], user)


def test_a_failed_call_leaves_the_session_as_it_was(model, reference):
    session = model.session(OPENING)
    session.score_candidates(["A walk."])
    with pytest.raises(UnscorableError, match="candidate 1 cannot be scored: over_long"):
        session.score_candidates(["No.", "walk " * 600])
    whole = [OPENING.assistant("No.")]
    assert session.score_candidates(["No."]) == pytest.approx(reference(whole), abs=TOLERANCE)


def test_a_forward_pass_that_fails_midway_leaves_no_half_filled_cache(model, reference):
    session = model.session(OPENING)
    session.score_candidates(["A walk.", "No."])

    def fail(*_):
        raise MemoryError

    hook = model._classifier.model.layers[1].register_forward_pre_hook(fail)
    with pytest.raises(MemoryError):
        session.score_candidates(["A walk.", "Yes."])
    hook.remove()
    whole = [OPENING.assistant("A walk."), OPENING.assistant("Yes.")]
    assert session.score_candidates(["A walk.", "Yes."]) == pytest.approx(reference(whole), abs=TOLERANCE)


def test_a_history_that_waits_for_the_user_is_refused(model):
    with pytest.raises(InvalidInputError, match="end with the user"):
        model.session(OPENING.assistant("A walk."))


def test_no_candidates_have_no_scores(model):
    assert model.session(OPENING).score_candidates([]) == []
