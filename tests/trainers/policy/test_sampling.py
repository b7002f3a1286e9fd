import pytest
import torch

from music.conversation import Conversation
from music_trainers.policy.chat_tokens import ChatTokens
from music_trainers.policy.sampling import sample_replies

UNPLAIN = {
    "repetition_penalty": 3.0,
    "no_repeat_ngram_size": 1,
    "suppress_tokens": list(range(100, 700)),
    "min_p": 0.9,
    "top_k": 2,
    "temperature": 0.3,
    "min_new_tokens": 12,
    "bad_words_ids": [[50], [60]],
}
NUM_TOKENS = 12


def by_hand(model, prompt, ends, *, greedy):
    """Sample a reply from the softmax of the logits, token by token, with `torch.multinomial` as `generate` uses it."""
    ids = list(prompt)
    for _ in range(NUM_TOKENS):
        with torch.no_grad():
            probabilities = model(input_ids=torch.tensor([ids])).logits[0, -1].softmax(-1)
        token = probabilities.argmax() if greedy else torch.multinomial(probabilities, 1)[0]
        ids.append(int(token))
        if ids[-1] in ends:
            break
    return ids[len(prompt) :]


@pytest.mark.parametrize("greedy", [True, False])
def test_replies_are_those_of_the_plain_softmax_whatever_the_model_came_with(policy, tokenizer, greedy):
    tokens = ChatTokens(tokenizer, [])
    policy.generation_config.update(**UNPLAIN)
    prompt = tokens.opening(Conversation().user("Two tips for tomato gear?"))
    for seed in range(3):
        torch.manual_seed(seed)
        (reply,) = sample_replies(policy, tokens, [prompt], max_tokens=NUM_TOKENS, greedy=greedy)
        torch.manual_seed(seed)
        assert reply == by_hand(policy, prompt, tokens.end_ids, greedy=greedy)


def test_the_models_own_settings_are_kept_for_those_who_use_it_later(policy, tokenizer):
    own = policy.generation_config
    own.update(**UNPLAIN)
    tokens = ChatTokens(tokenizer, [])
    sample_replies(policy, tokens, [tokens.opening(Conversation().user("Hi!"))], max_tokens=2)
    assert policy.generation_config is own
    assert own.repetition_penalty == 3.0


def test_a_policy_with_adapters_is_sampled_plainly_too(policy, tokenizer):
    from peft import LoraConfig, get_peft_model

    tokens = ChatTokens(tokenizer, [])
    policy.generation_config.update(**UNPLAIN)
    torch.manual_seed(0)
    adapted = get_peft_model(policy, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)).eval()
    prompt = tokens.opening(Conversation().user("Two tips for tomato gear?"))
    (reply,) = sample_replies(adapted, tokens, [prompt], max_tokens=NUM_TOKENS, greedy=True)
    assert reply == by_hand(adapted, prompt, tokens.end_ids, greedy=True)
    with adapted.disable_adapter():
        assert reply != by_hand(adapted, prompt, tokens.end_ids, greedy=True)
