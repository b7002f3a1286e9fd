import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from music import Conversation, Message

texts = st.text(min_size=1).filter(str.strip)


def build(num_messages, system=False):
    start = [{"role": "system", "content": "Be kind."}] if system else []
    body = [{"role": "assistant" if i % 2 else "user", "content": f"m{i}"} for i in range(num_messages)]
    return Conversation.from_messages(start + body)


@given(st.lists(texts, max_size=6), st.booleans())
def test_messages_round_trip(contents, system):
    roles = ["system"] * system + ["user", "assistant"] * 3
    rows = [{"role": role, "content": text} for role, text in zip(roles, contents, strict=False)]
    conversation = Conversation.from_messages(rows)
    assert conversation.to_messages() == rows
    assert Conversation.model_validate_json(conversation.model_dump_json()) == conversation


@pytest.mark.parametrize(
    "roles",
    [
        *("assistant", "user user", "user assistant assistant", "user system", "system system", "system assistant"),
        *("tool", "user tool", "user assistant tool user", "user assistant tool system"),
    ],
)
def test_roles_out_of_order_are_refused(roles):
    with pytest.raises(ValidationError, match="roles out of order"):
        Conversation.from_messages([{"role": role, "content": "x"} for role in roles.split()])


@pytest.mark.parametrize("message", [{"role": "user", "content": " \n"}, {"role": "narrator", "content": "x"}, {}])
def test_bad_message_is_refused(message):
    with pytest.raises(ValidationError):
        Conversation.from_messages([message])


def test_extending_leaves_the_original_as_it_was():
    start = Conversation()
    longer = start.user("Hi").assistant("Hello.").user("Bye")
    assert start.messages == ()
    assert [m.content for m in longer.messages] == ["Hi", "Hello.", "Bye"]
    assert longer == Conversation.from_messages(longer.to_messages())


def test_extending_out_of_turn_or_with_nothing_is_refused():
    with pytest.raises(ValueError, match="expected 'user'"):
        Conversation().assistant("Hello.")
    with pytest.raises(ValueError, match="expected 'assistant'"):
        Conversation().user("Hi").user("Hi?")
    with pytest.raises(ValidationError, match="blank"):
        Conversation().user("  ")


def test_conversations_and_messages_are_immutable_and_hashable():
    conversation = build(2)
    with pytest.raises(ValidationError):
        conversation.messages = ()
    with pytest.raises(ValidationError):
        conversation.messages[0].content = "other"
    assert len({conversation, build(2), build(3)}) == 2


@pytest.mark.parametrize(("num_messages", "role"), [(0, "user"), (1, "assistant"), (2, "user")])
@pytest.mark.parametrize("system", [False, True])
def test_next_role(num_messages, role, system):
    assert build(num_messages, system).next_role == role


def test_turn_ends_count_messages_up_to_each_reply():
    assert build(5).turn_ends == (2, 4)
    assert build(5, system=True).turn_ends == (3, 5)
    assert build(5).num_turns == 2
    assert build(0).turn_ends == ()


def test_prefix_is_a_conversation_that_can_go_on():
    prefix = build(4).prefix(2)
    assert prefix == build(2)
    assert prefix.user("m2").assistant("m3") == build(4)


def test_conversations_pickle():
    conversation = build(3, system=True)
    assert pickle.loads(pickle.dumps(conversation)) == conversation


def test_message_takes_no_further_fields():
    with pytest.raises(ValidationError, match="extra"):
        Message.model_validate({"role": "user", "content": "Hi", "mood": "good"})


CALL = {"type": "function", "function": {"name": "find", "arguments": {"of": "tea"}}}
WITH_TOOLS = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "What is there?"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "", "tool_call_id": "c1", "name": "find"},
    {"role": "assistant", "content": "Nothing."},
    {"role": "user", "content": "And now?"},
    {"role": "assistant", "content": "Still nothing."},
]


def test_tool_messages_are_of_the_turn_that_they_serve():
    conversation = Conversation.from_messages(WITH_TOOLS)
    assert conversation.has_tools
    assert not build(4).has_tools
    assert conversation.turn_ends == (5, 7)
    assert conversation.exchange_starts == (1, 5)
    assert [conversation.prefix(n).next_role for n in range(3, 6)] == ["user", "assistant", "user"]


def test_tool_messages_round_trip_and_hash():
    conversation = Conversation.from_messages(WITH_TOOLS)
    assert conversation.to_messages() == WITH_TOOLS
    assert Conversation.model_validate_json(conversation.model_dump_json()) == conversation
    assert Conversation.from_messages(conversation.to_messages()) in {conversation}


def test_an_exchange_is_dropped_with_its_tool_messages_and_the_system_message_stays():
    conversation = Conversation.from_messages(WITH_TOOLS)
    assert conversation.without_exchanges(0) == conversation
    assert [m.content for m in conversation.without_exchanges(1).messages] == [
        "Be kind.",
        "And now?",
        "Still nothing.",
    ]
    assert [m.content for m in conversation.without_exchanges(2).messages] == ["Be kind."]
