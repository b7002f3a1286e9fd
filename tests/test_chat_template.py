import pytest

from music.chat_template import BUILT_IN, choose_template, template_text
from music.conversation import Conversation, Message
from music.errors import InvalidInputError
from music.reward.tokens.encoding import ConversationTokenizer

SYSTEM = Conversation(messages=(Message(role="system", content="Be short."),))
TALK = SYSTEM.user("Name a fruit.\n").assistant(" An apple.\n").user("Another?").assistant("A pear.")
TEXTS = {
    "chatml": "<|im_start|>system\nBe short.<|im_end|>\n<|im_start|>user\nName a fruit.\n<|im_end|>\n"
    "<|im_start|>assistant\n An apple.\n<|im_end|>\n<|im_start|>user\nAnother?<|im_end|>\n"
    "<|im_start|>assistant\nA pear.<|im_end|>",
    "gemma": "<|bos|><start_of_turn>user\nBe short.\n\nName a fruit.<end_of_turn>\n<start_of_turn>model\nAn apple."
    "<end_of_turn>\n<start_of_turn>user\nAnother?<end_of_turn>\n<start_of_turn>model\nA pear.<end_of_turn>",
    "llama3": "<|bos|><|start_header_id|>system<|end_header_id|>\n\nBe short.<|eot_id|><|start_header_id|>user"
    "<|end_header_id|>\n\nName a fruit.<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nAn apple.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nAnother?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    "A pear.<|eot_id|>",
    "zephyr": "<|system|>\nBe short.<|end|>\n<|user|>\nName a fruit.\n<|end|>\n<|assistant|>\n An apple.\n<|end|>\n"
    "<|user|>\nAnother?<|end|>\n<|assistant|>\nA pear.<|end|>",
}


@pytest.fixture
def base(make_tokenizer):
    """The tokenizer of a base model that knows the tokens of all built-in templates."""
    tokenizer = make_tokenizer(None)
    tokenizer.eos_token = "<|end|>"
    for _, tokens in BUILT_IN.values():
        tokenizer.add_special_tokens({"additional_special_tokens": list(tokens)})
    return tokenizer


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_template_ends_with_a_special_token_and_keeps_its_beginnings(base, name):
    base.chat_template = choose_template(base, name)
    assert base.apply_chat_template(TALK.to_messages(), tokenize=False) == TEXTS[name]
    tokens = ConversationTokenizer.from_tokenizer(base, 512, "turn_mean")
    assert base.added_tokens_decoder[tokens.contract.reward_token_id].special
    [encoding] = tokens.encode_all([TALK])
    first, whole = tokens.with_contract(readout="last").encode_all([TALK.prefix(3), TALK])
    assert encoding.ids == whole.ids
    assert encoding.reads == (len(first.ids) - 1, len(whole.ids) - 1)
    prompt = base.apply_chat_template(TALK.prefix(4).to_messages(), tokenize=False, add_generation_prompt=True)
    assert TEXTS[name].startswith(prompt)
    assert "A pear." in TEXTS[name].removeprefix(prompt)


def test_a_template_may_be_a_file_or_one_of_the_tokenizers_own(base, tmp_path):
    file = tmp_path / "mine.jinja"
    file.write_text("{{ 'müsli' }}", encoding="utf-8")
    assert choose_template(base, str(file)) == "{{ 'müsli' }}"
    base.chat_template = {"default": "one", "chatml": "two"}
    assert (template_text(base, ""), choose_template(base, "chatml")) == ("one", "two")
    base.chat_template = {"chatml": "two"}
    with pytest.raises(InvalidInputError, match="none of its chat templates, chatml, is named default: do this"):
        template_text(base, "do this")


def test_a_template_that_is_not_there_is_refused_with_those_that_are(base, make_tokenizer, tmp_path):
    base.chat_template = {"rag": "one"}
    with pytest.raises(InvalidInputError, match=r"expected a file, or one of rag, chatml, .*; did you mean 'chatml'\?"):
        choose_template(base, "chatlm")
    with pytest.raises(
        InvalidInputError, match=r"lacks its tokens <\|im_start\|>, <\|im_end\|>; zephyr needs only EOS"
    ):
        choose_template(make_tokenizer(None), "chatml")
    with pytest.raises(InvalidInputError, match="ends messages with EOS, and the tokenizer has none"):
        choose_template(make_tokenizer(None), "zephyr")
    with pytest.raises(InvalidInputError, match="has no chat template: do this"):
        template_text(make_tokenizer(None), "do this")
    (tmp_path / "bad.jinja").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInputError, match="expected Jinja text in UTF-8"):
        choose_template(base, str(tmp_path / "bad.jinja"))
