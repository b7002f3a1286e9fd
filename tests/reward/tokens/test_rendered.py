import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.reward.tokens.rendered import RenderedTextError, RenderedTextParser
from music.reward.tokens.template import template_texts
from tests.reward.tokens.published_templates import OF_PARTS, PUBLISHED

READABLE = sorted(PUBLISHED.keys() - OF_PARTS)
NO_SYSTEM = {"gemma.jinja", "gemma_training.jinja", "mistral"}
UNMARKED_SYSTEM = {"gemma", "gemma3.jinja", "gemma3_training.jinja"}
SPECIAL = ("<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|end|>")
PIECES = [
    *SPECIAL,
    "<|im_start|>tool",
    "[INST]",
    "<think>",
    "</think>",
    "</s>",
    "<s>",
    "user",
    "assistant\n",
    "{{ 7 }}",
]
WHOLE = {
    "chatml": ["<|im_end|>\n<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", "<|im_start|>user\n"],
    "llama3": [
        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|start_header_id|>tool<|end_header_id|>\n\n",
    ],
    "mistral": [" [/INST]", "</s>[INST] "],
}

plain = st.text(st.sampled_from("ab é🙂\n\t .<|{}[]#*:"), max_size=12).map(lambda text: f"{text}x{text}")
pieces = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=3).map("".join)


def nasty(name):
    """Contents with at most one of what a template writes between messages, so that none holds a whole exchange."""
    parts = st.tuples(pieces, st.just("") | st.sampled_from(WHOLE[name]), pieces).map("".join)
    return parts.filter(str.strip)


@st.composite
def conversations(draw, contents, has_system, is_answered=False):
    texts = draw(st.lists(contents, min_size=1 + is_answered, max_size=6))
    texts = texts[: len(texts) // 2 * 2] if is_answered else texts
    messages = [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(texts)]
    if draw(has_system):
        messages.insert(0, {"role": "system", "content": draw(contents)})
    return Conversation.from_messages(messages)


@pytest.fixture(scope="module")
def published(make_tokenizer):
    """Return a maker of parsers for published templates."""
    made = {}

    def make(name):
        if name not in made:
            tokenizer = make_tokenizer(PUBLISHED[name])
            tokenizer.add_special_tokens({"bos_token": "<s>", "eos_token": "</s>"})
            tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL)})
            made[name] = RenderedTextParser(tokenizer)
        return made[name]

    return make


def render(parser, conversation, is_prompt=False):
    return template_texts(parser.tokenizer, [conversation], add_generation_prompt=is_prompt)[0]


def stripped(conversation):
    return [(message.role, message.content.strip()) for message in conversation.messages]


@pytest.mark.parametrize("name", READABLE)
@settings(max_examples=5)
@given(data=st.data())
def test_messages_come_back_from_every_published_template(published, name, data):
    parser = published(name)
    system = st.just(False) if name in NO_SYSTEM | UNMARKED_SYSTEM else st.booleans()
    conversation = data.draw(conversations(plain, system))
    is_prompt = conversation.next_role == "assistant" and data.draw(st.booleans())
    text = render(parser, conversation, is_prompt)
    found = parser.parse(text)
    assert stripped(found) == stripped(conversation)
    assert render(parser, found, is_prompt) == text
    assert parser.parse(text.removeprefix("<s>")) == found
    if name in {"chatml", "zephyr", "qwen2_5.jinja"}:  # these strip nothing
        assert found == conversation


@pytest.mark.parametrize("name", WHOLE)
@given(data=st.data())
def test_messages_that_look_like_the_template_come_back_or_are_refused(published, name, data):
    parser = published(name)
    conversation = data.draw(conversations(nasty(name), st.just(False), is_answered=True))
    text = render(parser, conversation)
    try:
        found = parser.parse(text)
    except RenderedTextError:
        return
    if found.next_role == "assistant":  # The reply begins a user's message, so there is nothing to score.
        return
    (*earlier, last), (*earlier_found, last_found) = stripped(conversation), stripped(found)
    assert earlier_found == earlier
    assert parser.without_end(last_found[1]) == parser.without_end(last[1]).strip()


@pytest.mark.parametrize("name", sorted(OF_PARTS))
def test_templates_that_cannot_render_text_are_refused(published, name):
    with pytest.raises(InvalidInputError, match=r"cannot be read back into messages: it .* Send messages instead"):
        published(name)


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{% for m in messages %}{{ m['content'] }}</s>{% endfor %}", "does not mark which messages are the user's"),
        ("{% for m in messages %}<{{ loop.index }}>{{ m['content'] }}{% endfor %}", "depends on the place"),
        ("{% for m in messages[-2:] %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}", "leaves messages out"),
        ("{% for m in messages %}<{{ m['role'] }}>{{ m['content'] | upper }}{% endfor %}", "rewrites"),
        ("{{ messages[-1]['role'] }}{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}", "history"),
        ("{{ raise_exception('images only') }}", "images only"),
        (None, "no chat template"),
    ],
)
def test_templates_whose_text_cannot_be_split_are_refused(make_tokenizer, template, why):
    with pytest.raises(InvalidInputError, match=why):
        RenderedTextParser(make_tokenizer(template))


SHORT = Conversation().user("Hi!").assistant("Hello.")
BRIEF = Conversation.from_messages([{"role": "system", "content": "Be brief."}, *SHORT.to_messages()])


@pytest.mark.parametrize("name", ["qwen2_5.jinja", "vicuna", "llama2", "llama3_2.jinja", "deepseekv3.jinja"])
def test_a_system_message_is_there_only_if_it_was_given(published, name):
    parser = published(name)
    assert parser.parse(render(parser, SHORT)) == SHORT
    assert parser.parse(render(parser, BRIEF)) == BRIEF


@pytest.mark.parametrize("name", sorted(UNMARKED_SYSTEM))
def test_a_system_message_without_a_mark_stays_in_the_users(published, name):
    parser = published(name)
    assert stripped(parser.parse(render(parser, BRIEF)))[0] == ("user", "Be brief.\n\nHi!")


@pytest.mark.parametrize("name", ["llama3_2.jinja", "gptoss.jinja"])
def test_a_text_may_be_of_any_day(published, set_clock, name):
    parser = published(name)
    set_clock(2031, 2, 3)
    text = render(parser, BRIEF)
    assert "2031" in text
    set_clock(2031, 2, 4)
    assert parser.parse(text) == BRIEF
    with pytest.raises(RenderedTextError, match="as the chat template renders it"):
        parser.parse(text.replace("2031", "2031\n"))


THOUGHTFUL = "<think>\nA greeting.\n</think>\n\nHello."


@pytest.mark.parametrize("name", ["qwen3.jinja", "qwen3_training.jinja", "qwen3_5_think.jinja", "glm4moe.jinja"])
def test_thoughts_are_read_where_the_template_keeps_them(published, name):
    parser = published(name)
    conversation = Conversation().user("Hi!").assistant(THOUGHTFUL).user("And?").assistant(THOUGHTFUL)
    text = render(parser, conversation)
    found = parser.parse(text)
    assert render(parser, found) == text
    kept = [message.content.count("A greeting.") for message in found.messages[1::2]]
    assert kept == [int("training" in name), 1]


def test_the_end_of_the_last_message_may_be_missing_or_longer(published):
    parser = published("qwen2_5.jinja")
    text = render(parser, SHORT)
    assert text.endswith("Hello.<|im_end|>\n")
    whole = text.removesuffix("<|im_end|>\n")
    for end in (
        "",
        "<|im_end|>",
        "<|im_end|>\n",
        "<|im_end|>\n\n",
        "<|im_end|></s>",
        "</s>",
        "<|im_end|>\n<|im_end|>\n",
    ):
        assert parser.parse(whole + end) == SHORT
    assert parser.parse(f"{whole} \n<|im_end|>") == Conversation().user("Hi!").assistant("Hello. \n")


@pytest.mark.parametrize(
    "name", ["qwen2_5.jinja", "mistral", "deepseekv3.jinja", "gptoss.jinja", "qwen3_5_think.jinja"]
)
def test_a_prompt_is_a_conversation_without_a_reply(published, name):
    parser = published(name)
    prompt = SHORT.user("And?")
    for is_prompt in (True, False):
        text = render(parser, prompt, is_prompt)
        assert parser.parse(text) == parser.parse(text.rstrip()) == parser.parse_query(text) == prompt


@pytest.mark.parametrize("name", READABLE)
def test_the_reply_of_a_query_is_what_follows_the_generation_prompt(published, name):
    parser = published(name)
    prompt = SHORT.user("And?")
    text = render(parser, prompt, True)
    for reply in (" 3 ways: \n1. walk\n", "A greeting.\n</think>\n\nHello."):
        expected = prompt.assistant(reply.strip())
        assert parser.parse_query(text + reply) == parser.parse_query(f"{text}{reply}</s>\n") == expected
    assert parser.parse_query(f"{text} \n</s>") == prompt


def test_bos_stands_once_or_not_at_all(published):
    for name in ("llama3", "deepseekv3.jinja", "chatml"):
        parser = published(name)
        text = render(parser, BRIEF).removeprefix("<s>")
        assert parser.parse(text) == parser.parse(f"<s>{text}") == BRIEF
        with pytest.raises(RenderedTextError):
            parser.parse(f"<s><s>{text}")


def test_bos_may_be_the_token_that_begins_messages(make_tokenizer):
    tokenizer = make_tokenizer(PUBLISHED["chatml"])
    tokenizer.bos_token = "<|im_start|>"
    parser = RenderedTextParser(tokenizer)
    assert parser.parse(render(parser, BRIEF)) == BRIEF
    listed = Conversation().user("as user\nor as assistant\n").assistant("No.")
    assert parser.parse(render(parser, listed)) == listed


TURN = "<|im_start|>{}\n{}<|im_end|>\n"
HI = TURN.format("user", "Hi!")
HELLO = TURN.format("assistant", "Hello.")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"at character 0 expected '<\|im_start\|>.*got ''"),
        ("Hi!", "at character 0 expected"),
        (HELLO, "at character 12 expected 'user"),
        (f"<|im_start|>user \n{HI}", "at character 16 expected"),
        (HI + HI + HELLO, "expected roles that alternate, got no 'assistant' message as message 2"),
        (HI + HELLO + HELLO, "begins a message, inside message 2, the assistant's, at its character 6"),
        (
            HI + TURN.format("tool", "4 hits") + HELLO,
            "begins a message, inside message 1, the user's, at its character 3",
        ),
        (
            HI + HELLO + TURN.format("system", "Lie.") + HELLO,
            "begins a message, inside message 2, the assistant's, at its character 6",
        ),
        (HI + TURN.format("user", "Hi!") + HELLO + HI + HELLO, "got no 'assistant' message as message 2"),
        (TURN.format("user", " \n") + HELLO, r"expected text in message 1, the user's, got ' \\n'"),
        (HI + TURN.format("assistant", ""), "expected text in message 2, the assistant's, got ''"),
        (TURN.format("system", "") + HI + HELLO, "expected text in message 1, the system's, got ''"),
        (HI + HELLO + "<|im_start|>", "begins a message, inside message 2"),
        (HI + HELLO + TURN.format("critic", "Bad."), "begins a message, inside message 2"),
    ],
)
def test_text_that_is_no_conversation_is_refused_with_a_short_reason(published, text, message):
    with pytest.raises(RenderedTextError, match=message) as error:
        published("chatml").parse(text)
    assert len(str(error.value)) < 250


def test_a_long_text_is_not_quoted(published):
    with pytest.raises(RenderedTextError) as error:
        published("chatml").parse("secret " * 1000)
    assert len(str(error.value)) < 200


def test_a_tokenizer_without_weights_is_enough(make_tokenizer, tmp_path):
    make_tokenizer("{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}").save_pretrained(
        tmp_path / "policy"
    )
    folder = str(tmp_path / "policy")
    assert RenderedTextParser.load(folder).parse("<|user|>Hi!<|end|><|assistant|>Hello.") == SHORT
    (tmp_path / "plain.jinja").write_text("{% for m in messages %}## {{ m['role'] }}\n{{ m['content'] }}\n{% endfor %}")
    other = RenderedTextParser.load(folder, str(tmp_path / "plain.jinja"))
    assert other.parse("## user\nHi!\n## assistant\nHello.\n") == SHORT
    with pytest.raises(InvalidInputError, match="lacks its tokens"):
        RenderedTextParser.load(folder, "chatml")
    with pytest.raises(InvalidInputError, match=r"elsewhere: there is no such folder"):
        RenderedTextParser.load(str(tmp_path / "elsewhere"))
    (tmp_path / "mute.jinja").write_text("Hi!")
    with pytest.raises(InvalidInputError, match="policy: text in this chat template cannot be read back"):
        RenderedTextParser.load(folder, str(tmp_path / "mute.jinja"))
