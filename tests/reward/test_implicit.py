import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.reward import UnscorableError, load_reward
from music.reward.implicit import ImplicitReward

TALK = Conversation().user("Hi!").assistant("Hello there.").user("And now?").assistant("Good bye.")


@pytest.fixture(scope="module")
def models(language_checkpoint, tmp_path_factory):
    """A policy and its reference, which have the same tokenizer."""
    reference = language_checkpoint()
    model = AutoModelForCausalLM.from_pretrained(reference)
    torch.manual_seed(1)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    policy = tmp_path_factory.mktemp("policy")
    model.save_pretrained(policy)
    AutoTokenizer.from_pretrained(reference).save_pretrained(policy)
    return policy, reference


@pytest.fixture(scope="module")
def reward(models):
    return ImplicitReward.from_pretrained(*models, device="cpu")


def by_hand(path, conversation):
    """Return the log-likelihood of all replies, each scored alone after its rendered history."""
    tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModelForCausalLM.from_pretrained(path)
    total = 0.0
    for place, message in enumerate(conversation.messages):
        if message.role == "assistant":
            messages = conversation.to_messages()[: place + 1]
            whole = tokenizer.apply_chat_template(messages, return_dict=True)["input_ids"]
            start = len(
                tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, return_dict=True)["input_ids"]
            )
            probabilities = torch.log_softmax(model(torch.tensor([whole])).logits[0], dim=-1)
            total += sum(probabilities[n - 1, whole[n]].item() for n in range(start, len(whole)))
    return total


def test_it_is_the_log_likelihood_ratio_of_all_replies(models, reward):
    expected = 0.1 * (by_hand(models[0], TALK) - by_hand(models[1], TALK))
    assert abs(expected) > 0.01
    assert reward([TALK, TALK.prefix(2)])[0] == pytest.approx(expected, abs=1e-4)


def test_a_policy_that_has_not_moved_rewards_nothing(models):
    assert load_reward(f"dpo:{models[1]}:{models[1]}")([TALK]) == [0.0]


def test_beta_scales_and_is_part_of_the_fingerprint(models, reward):
    strong = load_reward(f"dpo:{models[0]}:{models[1]}:0.5")
    assert strong([TALK])[0] == pytest.approx(5 * reward([TALK])[0], rel=1e-5)
    assert strong.fingerprint != reward.fingerprint


def test_what_has_no_reward_is_said(reward):
    with pytest.raises(UnscorableError, match="conversation 1: no_reply"):
        reward([TALK, TALK.prefix(1)])
    long = Conversation().user("Hi!").assistant("walk " * 20_000)
    assert reward.score_each([long, TALK])[0].problem == "over_long"


@pytest.mark.parametrize("spec", ["dpo:", "dpo:a", "dpo:a:b:0", "dpo:a:b:x", "dpo:a:b:1:2", "dpo::b"])
def test_a_name_of_another_form_is_refused(spec):
    with pytest.raises(InvalidInputError, match="expected dpo:POLICY:REFERENCE"):
        load_reward(spec)


def test_a_reference_with_another_tokenizer_is_refused(models, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(models[1])
    tokenizer.add_tokens(["<extra>"])
    tokenizer.save_pretrained(tmp_path)
    AutoModelForCausalLM.from_pretrained(models[1]).save_pretrained(tmp_path)
    with pytest.raises(InvalidInputError, match="expected the tokenizer of"):
        ImplicitReward.from_pretrained(models[0], tmp_path)
