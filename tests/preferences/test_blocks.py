import json
from itertools import chain

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from music.errors import InvalidInputError
from music.preferences.blocks import block_rows, file_blocks
from music.preferences.files import file_rows

RATING = {"prompt": "Hi", "response": "Hello.", "helpfulness": 3}


def rows_of(path, max_rows):
    blocks = file_blocks(path, max_rows)
    return blocks, list(chain.from_iterable(map(block_rows, blocks)))


@given(
    num_rows=st.integers(0, 40),
    group=st.integers(1, 12),
    max_rows=st.integers(1, 12),
)
def test_blocks_of_a_table_are_its_rows_in_order(tmp_path_factory, num_rows, group, max_rows):
    path = tmp_path_factory.mktemp("table") / "a.parquet"
    table = pa.table({"n": pa.array(range(num_rows), pa.int64())})
    pq.write_table(table, path, row_group_size=group)
    blocks, rows = rows_of(path, max_rows)
    assert rows == list(file_rows(path))
    assert [block.num_rows for block in blocks[:-1]] == [max_rows] * (len(blocks) - 1)


@given(
    lines=st.lists(st.sampled_from(['{"n": 1}', "", "  ", '{"text": "é\u2028"}', "{broken", "\ufeff{}"]), max_size=30),
    end=st.sampled_from(["\n", "\r\n"]),
    max_rows=st.integers(1, 8),
    closes=st.booleans(),
)
def test_blocks_of_lines_are_its_rows_in_order(tmp_path_factory, lines, end, max_rows, closes):
    path = tmp_path_factory.mktemp("lines") / "a.jsonl"
    path.write_bytes((end.join(lines) + (end if closes else "")).encode())
    blocks, rows = rows_of(path, max_rows)
    plain = list(file_rows(path))
    assert [(row.number, str(row.content)) for row in rows] == [(row.number, str(row.content)) for row in plain]
    assert [block.num_rows for block in blocks[:-1]] == [max_rows] * (len(blocks) - 1)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", json.dumps({"n": 1}).encode("utf-16")),
        ("a.jsonl", b'{"n": 1}\r{"n": 2}\r{"n": 3}'),
        ("a.json", b'[{"n": 1}, {"n": 2}, {"n": 3}]'),
        ("a.csv", b"n\n1\n2\n3\n"),
        ("a.jsonl", b"\n" + b"\n".join([json.dumps(RATING).encode()] * 3)),
    ],
)
def test_files_that_cannot_be_divided_are_one_block(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    blocks, rows = rows_of(path, 1)
    assert len(blocks) == 1
    assert rows == list(file_rows(path))


def test_a_rated_reply_after_other_rows_is_refused_because_its_neighbours_may_be_in_another_block(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join([json.dumps({"n": 1}), json.dumps(RATING)]))
    with pytest.raises(InvalidInputError, match=r"line 2: expected rows of one shape, got a rated reply"):
        rows_of(path, 1)


def test_damage_is_reported_with_its_place(tmp_path):
    path = tmp_path / "a.parquet"
    table = pa.table({"text": ["word " * 50 + str(n) for n in range(100)]})
    pq.write_table(table, path, row_group_size=10, compression="none", use_dictionary=False)
    content = bytearray(path.read_bytes())
    place = content.index(b"word 55")
    content[place - 2300 : place - 200] = b"\xff" * 2100
    path.write_bytes(content)
    blocks = file_blocks(path, 10)
    assert [row.number for row in block_rows(blocks[0])] == list(range(1, 11))
    with pytest.raises(InvalidInputError, match=r"a\.parquet: expected a whole parquet file"):
        list(chain.from_iterable(map(block_rows, blocks)))
    path.write_bytes(content[:-30])
    with pytest.raises(InvalidInputError, match=r"expected a whole parquet file; reading failed after row 0"):
        file_blocks(path, 10)
