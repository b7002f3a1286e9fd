import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.reward.tokens.contract import Unscorable
from music.reward.tokens.encoding import ConversationTokenizer, Encoding
from music.reward.tokens.template import template_texts
from music.reward.tokens.texts import TextTokenizer
from tests.reward.tokens.published_templates import PUBLISHED

ENDS = {
    "chatml": "<|im_end|>",
    "llama3": "<|eot_id|>",
    "gemma": "<end_of_turn>",
    "qwen2_5.jinja": "<|im_end|>",
    "qwen3.jinja": "<|im_end|>",
    "llama3_1.jinja": "<|eot_id|>",
    "mistral": "</s>",
    "vicuna": "</s>",
    "deepseekv3.jinja": "</s>",
}
contents = st.text(max_size=20).filter(str.strip)


@pytest.fixture(scope="module")
def published(make_tokenizer):
    """Return a maker of conversation tokenizers with published templates."""
    made = {}

    def make(name, max_length=512, readout="last"):
        if name not in made:
            tokenizer = make_tokenizer(PUBLISHED[name])
            tokenizer.add_special_tokens({"bos_token": "<s>", "eos_token": "</s>"})
            tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", ENDS[name]]})
            made[name] = tokenizer
        return ConversationTokenizer.from_tokenizer(made[name], max_length, readout)

    return make


def render(tokens, conversation, **options):
    return template_texts(tokens.tokenizer, [conversation], **options)[0]


@pytest.mark.parametrize("name", ENDS)
@settings(max_examples=20)
@given(texts=st.lists(contents, min_size=2, max_size=6))
def test_text_gives_the_ids_of_its_messages(published, name, texts):
    tokens = published(name, max_length=60)
    conversation = Conversation.from_messages(
        {"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(texts)
    )
    expected = tokens.encode([conversation])
    text = render(tokens, conversation)
    ids = tokens.tokenizer(text, add_special_tokens=False)["input_ids"]
    bare = text.removeprefix("<s>")
    sent = [text, bare, f"<s>{bare}", ids]
    assert TextTokenizer(tokens).encode(sent) == expected * 4


@pytest.fixture
def tokens(make_tokenizer):
    return ConversationTokenizer.from_tokenizer(make_tokenizer(), 512)


LONG = Conversation().user("Name a fruit.").assistant("An apple.").user("And?").assistant("A pear.")


def test_the_end_of_the_last_reply_is_added(tokens):
    text = render(tokens, LONG)
    cut = text.removesuffix("<|end|>")
    assert TextTokenizer(tokens).encode([cut, f"{text}<|end|>"]) == tokens.encode([LONG, LONG])


def test_the_oldest_exchanges_of_a_long_text_are_dropped(tokens):
    short = tokens.with_contract(max_length=len(tokens.encode_all([LONG])[0].ids) - 1)
    (found,) = TextTokenizer(short).encode([render(tokens, LONG)])
    assert [found] == short.encode([LONG])
    assert found.num_dropped_turns == 1


def test_every_turn_is_read_if_the_readout_needs_them(tokens):
    by_turn = tokens.with_contract(readout="turn_mean")
    (found,) = TextTokenizer(by_turn).encode([render(tokens, LONG)])
    assert [found] == by_turn.encode([LONG])
    assert len(found.reads) == 2


WITH_RESULT = "<|user|>Which tea?<|end|><|assistant|>(find)<|end|><|tool|>green<|end|><|assistant|>Green.<|end|>"


def test_text_that_cannot_be_read_as_messages_is_kept_or_has_no_score(tokens):
    ids = tokens.tokenizer(f"<|bos|>{WITH_RESULT}", add_special_tokens=False)["input_ids"]
    kept = Encoding(ids, (len(ids) - 1,))
    assert TextTokenizer(tokens).encode([WITH_RESULT, f"<|bos|>{WITH_RESULT}", ids, ids[1:]]) == [kept] * 4
    cut = WITH_RESULT.removesuffix("<|end|>")
    given = [cut, "Green.<|end|>", f"<|bos|><|bos|>{WITH_RESULT}", "", [], "<|user|>Which tea?<|end|>"]
    assert TextTokenizer(tokens).encode(given) == [
        Unscorable.REWARD_TOKEN_MISSING,
        *[Unscorable.TEXT_NOT_OF_TEMPLATE] * 4,
        Unscorable.NO_REPLY,
    ]
    short = TextTokenizer(tokens.with_contract(max_length=len(ids) - 1))
    assert short.encode([WITH_RESULT]) == [Unscorable.OVER_LONG]
    by_turn = TextTokenizer(tokens.with_contract(readout="turn_mean"))
    assert by_turn.encode([WITH_RESULT]) == [Unscorable.TEXT_NOT_OF_TEMPLATE]


def test_ids_that_a_policy_sampled_are_kept(tokens):
    (own,) = tokens.encode_all([Conversation().user("Hi!").assistant("warm or cold")])
    letters = [token for letter in "warm or cold" for token in tokens.tokenizer(letter)["input_ids"]]
    start = own.ids[: own.ids.index(tokens.tokenizer.convert_tokens_to_ids("<|assistant|>")) + 1]
    sampled = [*start, *letters, own.ids[-1]]
    assert sampled != own.ids
    assert TextTokenizer(tokens).encode([sampled, own.ids]) == [Encoding(sampled, (len(sampled) - 1,)), own]


def test_a_template_whose_text_cannot_be_split_is_refused(make_tokenizer):
    tokenizer = make_tokenizer("{% for m in messages %}{{ m['content'] }}<|end|>{% endfor %}")
    with pytest.raises(InvalidInputError, match="cannot be read back into messages"):
        TextTokenizer(ConversationTokenizer.from_tokenizer(tokenizer, 512))
