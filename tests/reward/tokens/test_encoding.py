import pickle

import pytest

from music.conversation import Conversation
from music.reward.tokens.contract import ContractError, Unscorable, UnscorableError
from music.reward.tokens.encoding import ConversationTokenizer, Encoding
from music.reward.tokens.template import derive_contract, template_ids

TURN = "<|{{ m['role'] }}|>{{ m['content'] }}<|end|>"
NO_SYSTEM = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    f"{TURN}{{% endfor %}}"
)


def test_ids_are_the_template_and_nothing_else(make_tokenizer, make_conversation):
    tokenizer = make_tokenizer()
    tokens = ConversationTokenizer.from_tokenizer(tokenizer, 512)
    conversation = make_conversation(0)
    [encoding] = tokens.encode([conversation])
    text = tokenizer.apply_chat_template(conversation.to_messages(), tokenize=False)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert encoding == Encoding(ids, (len(ids) - 1,), 0)
    assert encoding.ids[0] == tokenizer.bos_token_id
    assert encoding.ids[-1] == tokens.contract.reward_token_id == tokenizer.convert_tokens_to_ids("<|end|>")


@pytest.mark.parametrize("add_bos", [True, False])
def test_bos_stands_once_even_if_the_tokenizer_would_add_one_too(make_tokenizer, make_conversation, add_bos):
    from tokenizers.processors import TemplateProcessing

    tokenizer = make_tokenizer()
    if add_bos:
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="<|bos|> $A", special_tokens=[("<|bos|>", tokenizer.bos_token_id)]
        )
    [encoding] = ConversationTokenizer.from_tokenizer(tokenizer, 512).encode([make_conversation(0)])
    assert encoding.ids.count(tokenizer.bos_token_id) == 1


def test_a_template_without_bos_is_recorded_as_such(make_tokenizer):
    contract = derive_contract(make_tokenizer(f"{{% for m in messages %}}{TURN}{{% endfor %}}"), 512)
    assert contract.starts_with_bos is False


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"template": "{{ bos_token }}{{ bos_token }}{% for m in messages %}" + TURN + "{% endfor %}"}, "BOS twice"),
        ({"pad_token": None}, "names no pad token"),
        ({"template": "{% for m in messages %}<|user|>{{ m['content'] }}{% endfor %}"}, "no token of its own"),
        ({"template": "{{ raise_exception('images only') }}"}, "refuses plain .*images only"),
        ({"template": "{{ messages[0]['images'] + 1 }}"}, "refuses plain .*no attribute 'images'"),
        ({"template": "{{ messages | length + 'a' }}"}, "refuses plain .*TypeError"),
        ({"template": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"}, "refuses plain .*RecursionError"),
        ({"template": "{{ raise_exception }}{% for m in messages %}" + TURN + "{% endfor %}"}, "a memory address"),
        (
            {"template": {"tool_use": TURN, "rag": TURN}},
            "none of its chat templates, rag, tool_use, is named default: name one with",
        ),
        ({"template": None}, r"has no chat template: name one with --chat-template, a file or one of chatml, "),
    ],
)
def test_tokenizers_that_would_give_wrong_scores_are_refused(make_tokenizer, settings, message):
    with pytest.raises(ContractError, match=message):
        derive_contract(make_tokenizer(**settings), 512)


def test_rewards_are_read_where_each_turn_ends(make_tokenizer, make_conversation):
    tokens = ConversationTokenizer.from_tokenizer(make_tokenizer(), 512)
    conversation = make_conversation(4, num_turns=5)
    cut = tokens.encode([conversation.prefix(end) for end in conversation.turn_ends])
    ends = tuple(len(encoding.ids) - 1 for encoding in cut)
    [encoding] = tokens.encode([conversation], every_turn=True)
    assert encoding.reads == ends
    assert tokens.with_contract(readout="turn_mean").encode([conversation])[0].reads == ends
    [shorter] = tokens.with_contract(max_length=ends[-1], readout="turn_mean").encode([conversation])
    assert len(shorter.reads) == 5 - shorter.num_dropped_turns < 5
    assert {shorter.ids[read] for read in shorter.reads} == {tokens.contract.reward_token_id}


REWRITING = {
    "thinks at the last turn": "{% for m in messages %}<|{{ m['role'] }}|>"
    "{% if loop.last %}<think></think>{% endif %}{{ m['content'] }}<|end|>{% endfor %}",
    "counts the messages": "{{ messages | length }}{% for m in messages %}" + TURN + "{% endfor %}",
}


@pytest.mark.parametrize("template", REWRITING.values(), ids=REWRITING)
def test_a_template_that_rewrites_the_history_cannot_be_read_at_every_turn(make_tokenizer, make_conversation, template):
    tokens = ConversationTokenizer.from_tokenizer(make_tokenizer(template), 512)
    conversation = make_conversation(4, num_turns=2)
    assert len(tokens.encode([conversation])) == 1
    with pytest.raises(ContractError, match="use a template whose prefixes stay as they are"):
        tokens.encode([conversation], every_turn=True)
    with pytest.raises(ContractError, match="use a template whose prefixes stay as they are"):
        ConversationTokenizer.from_tokenizer(make_tokenizer(template), 9, "turn_mean")


def test_a_changed_template_breaks_the_contract(make_tokenizer):
    contract = derive_contract(make_tokenizer(), 512)
    with pytest.raises(ContractError, match="chat_template_sha256"):
        ConversationTokenizer(make_tokenizer(NO_SYSTEM), contract)


def test_long_conversations_lose_whole_old_exchanges_and_keep_the_system_message(make_tokenizer, make_conversation):
    tokenizer = make_tokenizer()
    conversation = make_conversation(1, num_turns=6, system=True)
    whole = ConversationTokenizer.from_tokenizer(tokenizer, 512)
    kept = Conversation(messages=conversation.messages[:1] + conversation.messages[5:])
    [expected] = whole.encode([kept])
    limit = len(expected.ids)
    [encoding] = ConversationTokenizer.from_tokenizer(tokenizer, limit).encode([conversation])
    assert encoding == Encoding(expected.ids, expected.reads, num_dropped_turns=2)
    [shorter] = ConversationTokenizer.from_tokenizer(tokenizer, limit - 1).encode([conversation])
    assert shorter.num_dropped_turns == 3


def test_what_cannot_be_encoded_is_data_and_spoils_nothing_else(make_tokenizer, make_conversation):
    tokens = ConversationTokenizer.from_tokenizer(make_tokenizer(NO_SYSTEM), 60)
    fine, with_system = make_conversation(2, num_turns=1), make_conversation(2, num_turns=1, system=True)
    huge = make_conversation(3, num_turns=2).user("short").assistant("walk " * 200)
    encodings = tokens.encode([fine, with_system, huge, fine])
    assert encodings[1:3] == [Unscorable.TEMPLATE_REFUSED, Unscorable.OVER_LONG]
    assert encodings[0] == encodings[3] == tokens.encode([fine])[0]


CALLS = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}"
    "{% if m['tool_calls'] %}{{ m['tool_calls'] | tojson }}{% endif %}<|end|>{% endfor %}"
)


@pytest.fixture
def with_tools():
    """A conversation of two turns, the first of them with a tool call."""
    call = {"type": "function", "function": {"name": "find", "arguments": {"of": "tea"}}}
    messages = [
        {"role": "user", "content": "Which teas?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "green", "name": "find"},
        {"role": "assistant", "content": "Green tea."},
        {"role": "user", "content": "And then?"},
        {"role": "assistant", "content": "Drink it."},
    ]
    return Conversation.from_messages(messages)


def test_tool_calls_reach_the_template_and_their_turn_has_one_reward(make_tokenizer, with_tools):
    tokenizer = make_tokenizer(CALLS)
    tokens = ConversationTokenizer.from_tokenizer(tokenizer, 512)
    [encoding] = tokens.encode([with_tools], every_turn=True)
    text = tokenizer.decode(encoding.ids)
    assert '"arguments": {"of": "tea"}' in text
    assert "<|tool|>green" in text
    [first] = tokens.encode([with_tools.prefix(4)])
    assert encoding.reads == (len(first.ids) - 1, len(encoding.ids) - 1)


def test_an_exchange_that_is_dropped_takes_its_tool_messages_along(make_tokenizer, with_tools):
    tokens = ConversationTokenizer.from_tokenizer(make_tokenizer(CALLS), 512)
    [last] = tokens.encode([with_tools.without_exchanges(1)])
    [cut] = tokens.with_contract(max_length=len(last.ids) + 1).encode([with_tools])
    assert (cut.ids, cut.num_dropped_turns) == (last.ids, 1)


def test_tool_calls_that_the_template_would_leave_out_are_data(make_tokenizer, make_conversation, with_tools):
    tokens = ConversationTokenizer.from_tokenizer(make_tokenizer(), 512)
    encodings = tokens.encode([with_tools, make_conversation(0)])
    assert encodings[0] is Unscorable.TOOL_CALLS_NOT_RENDERED
    assert isinstance(encodings[1], Encoding)


PLAIN = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\\n' }}{% endfor %}"


@pytest.fixture
def plain(make_tokenizer):
    """A template that ends messages with a newline, and a tokenizer that makes one token of two newlines."""
    tokenizer = make_tokenizer(PLAIN)
    tokenizer.add_tokens(["\n\n"])
    return ConversationTokenizer.from_tokenizer(tokenizer, 64)


def reply(text):
    return Conversation().user("Any tips?").assistant(text)


def test_a_reply_that_swallows_the_reward_token_is_data(plain):
    encodings = plain.encode([reply("Start small."), reply("Start small.\n"), reply("Small.\n\n\n")])
    assert encodings[0].ids[-1] == plain.contract.reward_token_id
    assert encodings[1:] == [Unscorable.REWARD_TOKEN_MISSING] * 2
    with pytest.raises(UnscorableError, match=r"candidate 1 .*reward_token_missing .*Strip trailing newlines"):
        plain.encode_all([reply("No."), reply("No.\n")], names=["candidate 0", "candidate 1"])


def test_the_reward_token_is_looked_for_at_every_turn_that_is_read(plain):
    early, late = reply("Start.\n").user("And?").assistant("Stop."), reply("Start.").user("And?").assistant("Stop.\n")
    sound = reply("Start.").user("And?").assistant("Stop.")
    by_turn = plain.encode([early, late, sound], every_turn=True)
    assert by_turn[:2] == [Unscorable.REWARD_TOKEN_MISSING] * 2
    assert [by_turn[2].ids[read] for read in by_turn[2].reads] == [plain.contract.reward_token_id] * 2
    assert isinstance(plain.encode([early], every_turn=False)[0], Encoding)


def test_what_is_left_of_a_long_conversation_ends_with_the_reward_token_too(plain):
    encodings = plain.encode([reply("walk " * 60).user("And?").assistant(end) for end in ("Stop.", "Stop.\n")])
    assert encodings[0].num_dropped_turns == 1
    assert encodings[1] is Unscorable.REWARD_TOKEN_MISSING


@pytest.mark.parametrize("conversation", [Conversation(), Conversation().user("Hi!")])
def test_a_conversation_without_a_last_reply_is_data(make_tokenizer, make_conversation, conversation):
    tokens = ConversationTokenizer.from_tokenizer(make_tokenizer(), 512)
    encodings = tokens.encode([conversation, make_conversation(0)])
    assert encodings == [Unscorable.NO_REPLY, *tokens.encode([make_conversation(0)])]
    with pytest.raises(UnscorableError, match=r"no_reply .expected it to end with the assistant"):
        tokens.encode_all([conversation])


def test_the_default_of_named_templates_is_rendered_whatever_the_others_hold(make_tokenizer, with_tools):
    tokenizer = make_tokenizer()
    plain = ConversationTokenizer.from_tokenizer(tokenizer, 512)
    tokenizer.chat_template = {"default": tokenizer.chat_template, "tool_use": CALLS}
    named = ConversationTokenizer.from_tokenizer(tokenizer, 512)
    assert named.contract == plain.contract
    assert named.encode([reply("Ho."), with_tools]) == plain.encode([reply("Ho."), with_tools])
    assert named.encode([with_tools]) == [Unscorable.TOOL_CALLS_NOT_RENDERED]


def test_a_conversation_that_breaks_the_template_is_data(make_tokenizer):
    template = "{% for m in messages %}{{ 1 // (m['content'] | length - 1) }}" + TURN + "{% endfor %}"
    tokens = ConversationTokenizer.from_tokenizer(make_tokenizer(template), 512)
    encodings = tokens.encode([reply("x"), reply("Ho.")])
    assert encodings[0] is Unscorable.TEMPLATE_REFUSED
    assert isinstance(encodings[1], Encoding)


def test_what_is_remembered_is_rendered_once_and_is_the_same(make_tokenizer, monkeypatch):
    tokens = ConversationTokenizer.from_tokenizer(make_tokenizer(), max_length=200)
    whole = Conversation()
    asked: list[int] = []

    def counted(tokenizer, conversations):
        asked.append(len(conversations))
        return template_ids(tokenizer, conversations)

    for turn in range(4):
        whole = whole.user(f"And {turn}?").assistant("Yes.")
        beginnings = [whole.prefix(end) for end in whole.turn_ends]
        plain = tokens.encode(beginnings)
        with monkeypatch.context() as patch:
            patch.setattr("music.reward.tokens.encoding.template_ids", counted)
            assert tokens.encode(beginnings, remember=True) == plain
    assert asked[::2] == [1, 1, 1, 1]
    assert pickle.loads(pickle.dumps(tokens)).encode(beginnings, remember=True) == plain
