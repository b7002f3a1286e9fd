import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from music import Conversation
from music.preferences import RowProblem, read_preferences
from music.preferences.messages import read_side, read_transcript

MARKER = re.compile(r"(\A|\n\n)(Human|Assistant):")

texts = (
    st.text(min_size=1)
    .map(str.strip)
    .filter(lambda text: text and not MARKER.search(f" {text}") and "\r\n" not in text)
)


def transcript(conversation):
    names = {"user": "Human", "assistant": "Assistant"}
    return "".join(f"\n\n{names[m.role]}: {m.content}" for m in conversation.messages)


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=4))
def test_rendered_transcript_reads_back(turns):
    conversation = Conversation()
    for user, assistant in turns:
        conversation = conversation.user(user).assistant(assistant)
    messages = read_transcript({"chosen": transcript(conversation)}, "chosen")
    assert read_side(messages, "chosen") == conversation


def test_marker_within_a_line_is_text():
    text = "\n\nHuman: Hi\n\nAssistant: I say. Human: no!\nAssistant: one newline"
    assert [m.role for m in read_transcript({"chosen": text}, "chosen")] == ["user", "assistant"]


@pytest.mark.parametrize(
    ("rejected", "problem"),
    [
        ("\n\nHuman: Hi\n\nAssistant: ", RowProblem.EMPTY_TEXT),
        ("\n\nHuman:\n\nAssistant: Bye.", RowProblem.EMPTY_TEXT),
        ("\n\nHuman: Hi\n\nAssistant: So:\n\nAssistant: Bye.", RowProblem.ROLES_OUT_OF_ORDER),
        ("\n\nAssistant: Bye.", RowProblem.ROLES_OUT_OF_ORDER),
        ("\n\nHuman: Hi\n\nAssistant: Bye.\n\nHuman: Wait", RowProblem.NO_REPLY),
        ("Well. \n\nHuman: Hi\n\nAssistant: Bye.", RowProblem.WRONG_TYPE),
        ("Bye.", RowProblem.WRONG_TYPE),
        ("\n\nHuman: Hi\n\nAssistant: Hello. ", RowProblem.IDENTICAL_SIDES),
    ],
)
def test_bad_transcript_is_counted_by_reason(tmp_path, rejected, problem):
    chosen = "\n\nHuman: Hi\n\nAssistant: Hello."
    rows = [
        {"chosen": chosen, "rejected": "\n\nHuman: Hi\n\nAssistant: Bye."},
        {"chosen": chosen, "rejected": rejected},
    ]
    path = tmp_path / "hh.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    found = read_preferences(path)
    assert [(row.problem, row.number) for row in found.rejected] == [(problem, 2)]
