"""Messages as rows hold them: speakers, parts, tools, and two in a row."""

import pytest

from music.preferences import Change, Consecutive, RowProblem, read_preferences

USER = {"role": "user", "content": "Hi"}
CALL = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"of": "tea"}'}}


@pytest.fixture
def read(write_jsonl):
    """Read one pair whose chosen side is given; the rejected one answers with nothing but "No."."""

    def read_side(messages, **options):
        row = {"chosen": messages, "rejected": [USER, {"role": "assistant", "content": "No."}]}
        return read_preferences(write_jsonl([row]), **options)

    return read_side


@pytest.mark.parametrize("user", ["user", "human", "Human", "prompter", "USER"])
@pytest.mark.parametrize("assistant", ["assistant", "gpt", "model", "Assistant", "bot", "chatgpt"])
@pytest.mark.parametrize("system", ["system", "developer", "System"])
def test_speakers_by_any_name(read, user, assistant, system):
    (pair,) = read([{"role": name, "content": "x"} for name in (system, user, assistant)]).pairs
    assert [message.role for message in pair.chosen.messages] == ["system", "user", "assistant"]


def test_content_in_parts_is_joined(read):
    parts = [{"type": "text", "text": "Hel"}, {"text": "lo"}]
    (pair,) = read([USER, {"role": "assistant", "content": parts}]).pairs
    assert pair.chosen.messages[-1].content == "Hel\nlo"


def test_empty_system_messages_are_left_out_and_counted(read):
    found = read([{"role": "system", "content": " "}, USER, {"role": "assistant", "content": "Yes."}])
    assert not found.pairs[0].chosen.has_system
    assert found.changes == {Change.EMPTY_SYSTEM: 1}
    assert "1 empty system messages left out" in found.summary()


TWICE = [USER, {"role": "user", "content": "Are you there?"}, {"role": "assistant", "content": "Yes."}]


def test_two_messages_in_a_row_are_refused_with_the_flag_that_merges_them(read):
    (row,) = read(TWICE).rejected
    assert row.problem is RowProblem.ROLES_OUT_OF_ORDER
    assert "--consecutive merge" in row.detail


def test_two_messages_in_a_row_are_merged_if_asked(read):
    found = read([*TWICE, {"role": "assistant", "content": "Sure."}], consecutive=Consecutive.MERGE)
    assert [message.content for message in found.pairs[0].chosen.messages] == ["Hi\n\nAre you there?", "Yes.\n\nSure."]
    assert found.changes == {Change.MERGED: 2}
    assert "2 messages merged" in found.summary()


TOOLS = [
    USER,
    {"role": "assistant", "content": None, "tool_calls": [CALL | {"index": None}]},
    {"role": "tool", "content": '{"ok": 1}', "tool_call_id": "c1"},
    {"role": "assistant", "content": "Green tea."},
]


def test_tool_messages_are_kept_and_counted(read):
    found = read(TOOLS)
    chosen = found.pairs[0].chosen
    call = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": {"of": "tea"}}}
    assert chosen.to_messages()[1] == {"role": "assistant", "content": "", "tool_calls": [call]}
    assert chosen.to_messages()[2] == {"role": "tool", "content": '{"ok": 1}', "tool_call_id": "c1"}
    assert chosen.num_turns == 1
    assert "1 pairs with tool messages" in found.summary()


def test_sharegpts_calls_and_observations_are_tool_messages(write_jsonl):
    row = {
        "conversations": [
            {"from": "human", "value": "Hi"},
            {"from": "function_call", "value": '{"name": "find", "arguments": {"of": "tea"}}'},
            {"from": "observation", "value": "green"},
        ],
        "chosen": {"from": "gpt", "value": "Green tea."},
        "rejected": {"from": "gpt", "value": "No."},
    }
    (pair,) = read_preferences(write_jsonl([row])).pairs
    call, result = pair.chosen.to_messages()[1:3]
    assert call["tool_calls"] == [{"type": "function", "function": {"name": "find", "arguments": {"of": "tea"}}}]
    assert result == {"role": "tool", "content": "green"}


def test_a_tool_call_may_be_the_reply(read):
    (pair,) = read(TOOLS[:2]).pairs
    assert pair.chosen.messages[-1].tool_calls


def test_calls_are_not_merged_with_what_is_said_before_them(read):
    messages = [USER, {"role": "assistant", "content": "Let me see."}, *TOOLS[1:]]
    (row,) = read(messages, consecutive=Consecutive.MERGE).rejected
    assert row.problem is RowProblem.ROLES_OUT_OF_ORDER


def test_tool_messages_are_written_as_lines_and_read_back(read, tmp_path):
    from music import InvalidInputError
    from music.preferences import write_preferences

    pairs = read(TOOLS).pairs
    write_preferences(pairs, tmp_path / "pairs.jsonl")
    assert read_preferences(tmp_path / "pairs.jsonl").pairs[0].chosen == pairs[0].chosen
    with pytest.raises(InvalidInputError, match=r"tool messages.*\.jsonl"):
        write_preferences(pairs, tmp_path / "pairs.parquet")
    assert not (tmp_path / "pairs.parquet").exists()
