import pytest


@pytest.fixture
def sample(policy, talks):
    """A sample of slime: a prompt and a reply that is closed, as the policy's server gives it."""
    asked = talks[1].to_messages()[:-1]
    text = policy.tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    return {
        "prompt": text,
        "response": f"{talks[1].messages[-1].content}<|im_end|>",
        "label": "pear",
        "messages": asked,
    }


@pytest.mark.parametrize("kind", ["text", "messages"])
def test_the_answer_is_the_reward(ask, load, policy, sample, expected, kind):
    model = load(policy_template=str(policy.folder))
    body = sample | ({"prompt": sample["messages"]} if kind == "messages" else {})
    assert ask("/slime", body, model=model) == expected[1]
    assert ask("/slime", body | {"label": sample["messages"]}, model=model) == expected[1]


def test_the_models_own_template_is_the_default(ask, render, talks, expected):
    prompt = render(talks[0].prefix(1), add_generation_prompt=True)
    assert ask("/slime", {"prompt": prompt, "response": "An apple.<|end|>"}) == expected[0]
    assert ask("/slime", {"prompt": talks[0].prefix(1).to_messages(), "response": "An apple.<|end|>"}) == expected[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"response": " <|im_end|>"}, "the policy's reply is blank: start the server with --floor"),
        ({"prompt": [], "response": "<|im_end|>"}, "expected a prompt that ends with the user"),
        ({"prompt": [{"role": "assistant", "content": "Hi!"}]}, "expected the prompt's messages"),
        ({"prompt": "Name a fruit."}, "expected text in the policy's chat template"),
        ({"prompt": 3}, "prompt"),
        ({"response": None}, "response: Input should be a valid string"),
    ],
)
def test_what_cannot_be_scored_is_refused(ask, load, policy, sample, change, message):
    model = load(policy_template=str(policy.folder), floor=None)
    assert ask("/slime", sample | change, model=model, status=400)["detail"].startswith(message)


def test_a_blank_reply_gets_the_floor_if_there_is_one(ask, load, policy, sample):
    model = load(policy_template=str(policy.folder), floor=-5.0)
    for prompt in (sample["prompt"], sample["messages"]):
        assert ask("/slime", sample | {"prompt": prompt, "response": "<|im_end|>"}, model=model) == -5.0
