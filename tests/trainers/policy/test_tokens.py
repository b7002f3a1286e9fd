import pytest

from music.conversation import Conversation
from music.errors import InvalidInputError
from music_trainers.policy.tokens import ChatTokens

TALK = Conversation().user("Two tips for tomato gear?").assistant("Plan tomato gear early.").user("And the cost?")


def whole(tokenizer, conversation):
    return tokenizer.apply_chat_template(conversation.to_messages(), add_generation_prompt=True, return_dict=True)[
        "input_ids"
    ]


def test_a_conversation_that_grows_is_what_the_template_makes_of_the_whole(tokenizer):
    tokens = ChatTokens(tokenizer, [])
    reply = tokenizer("Plan tomato gear early.")["input_ids"]
    grown = [*tokens.opening(TALK.prefix(1)), *reply, tokens.closing_id, *tokens.between("And the cost?")]
    assert grown == whole(tokenizer, TALK)


def test_what_a_template_writes_behind_the_end_token_belongs_to_what_follows(make_tokenizer):
    template = (
        "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    tokens = ChatTokens(tokenizer, tokenizer.convert_tokens_to_ids(["<|end|>"]))
    reply = tokenizer("Plan tomato gear early.", add_special_tokens=False)["input_ids"]
    grown = [*tokens.opening(TALK.prefix(1)), *reply, tokens.closing_id, *tokens.between("And the cost?")]
    assert tokenizer.decode(grown) == tokenizer.decode(whole(tokenizer, TALK))
    assert grown == whole(tokenizer, TALK)


def test_text_has_no_end_token(tokenizer):
    tokens = ChatTokens(tokenizer, [])
    assert tokens.text([*tokenizer("Plan it.")["input_ids"], tokens.closing_id]) == "Plan it."
    assert tokens.text([tokens.closing_id]) == ""


def test_a_template_that_never_ends_a_reply_is_refused(make_tokenizer):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
    with pytest.raises(InvalidInputError, match="ends replies with a token"):
        ChatTokens(tokenizer, [])


def test_a_template_that_closes_a_reply_otherwise_once_more_follows_is_refused(make_tokenizer):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}"
        "{{ '<|end|>' if loop.last else '<|bos|>' }}{% endfor %}"
    )
    with pytest.raises(InvalidInputError, match="differently once more turns follow"):
        ChatTokens(tokenizer, tokenizer.convert_tokens_to_ids(["<|end|>"]))


def test_a_policy_reads_the_same_date_on_every_day_and_keeps_its_template(tokenizer, set_clock):
    dated = "{{ strftime_now('%d %b %Y') }}" + tokenizer.chat_template
    tokenizer.chat_template = dated
    openings = []
    for day in (2026, 3, 5), (2027, 11, 28):
        set_clock(*day)
        openings.append(ChatTokens(tokenizer, []).opening(TALK))
    assert openings[0] == openings[1]
    assert "26 Jul 2024" in tokenizer.decode(openings[0])
    assert tokenizer.chat_template == dated


def test_of_several_chat_templates_the_default_is_taken(make_tokenizer):
    tokenizer = make_tokenizer()
    end = tokenizer.convert_tokens_to_ids(["<|end|>"])
    single = ChatTokens(tokenizer, end).opening(TALK)
    tokenizer.chat_template = {"default": tokenizer.chat_template, "rag": "{{ messages | length }}"}
    assert ChatTokens(tokenizer, end).opening(TALK) == single
    tokenizer.chat_template = {"rag": "{{ messages | length }}"}
    with pytest.raises(InvalidInputError, match="rag, is named default: save the policy's tokenizer with one"):
        ChatTokens(tokenizer, end)
    tokenizer.chat_template = None
    with pytest.raises(InvalidInputError, match="no chat template: save the policy's tokenizer with one"):
        ChatTokens(tokenizer, end)
