import pytest

from music import InvalidInputError
from music.preferences import read_conversations


def test_conversations_in_the_order_of_the_file(write_jsonl, side):
    rows = [{"messages": side("Hi", "Hello.")}, {"messages": side("Hi", "Yes?", "Why", "So."), "id": 4}]
    assert [c.num_turns for c in read_conversations(write_jsonl(rows))] == [1, 2]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("{", "invalid JSON"),
        ("3", "expected an object"),
        ({"text": "Hi"}, "messages: expected a value"),
        ({"messages": [{"role": "user", "content": "Hi"}]}, "expected a last message by the assistant"),
        ({"messages": [{"role": "narrator", "content": "Hi"}]}, "expected a role of"),
    ],
)
def test_bad_row_is_an_error_with_its_line(write_jsonl, side, row, words):
    path = write_jsonl([{"messages": side("Hi", "Hello.")}, row])
    with pytest.raises(InvalidInputError, match=rf"line 2, .*{words}"):
        read_conversations(path)


def test_missing_file_is_an_error(tmp_path):
    with pytest.raises(InvalidInputError, match="absent"):
        read_conversations(tmp_path / "absent.jsonl")
