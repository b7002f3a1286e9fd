import gzip

import pytest

from music import Conversation, InvalidInputError, PreferencePair
from music.preferences import read_preferences, write_preferences, write_rows
from music.preferences.sources import iter_rows


def pairs(count):
    start = Conversation.from_messages([{"role": "system", "content": "Be kind."}]).user("Hi {x}\n")
    return tuple(
        PreferencePair(id=f"p{i}", chosen=start.assistant(f"Good {i} ☂"), rejected=start.assistant("Bad"), source="s")
        for i in range(count)
    )


@pytest.mark.parametrize("name", ["deep/pairs.parquet", "pairs.jsonl", "pairs.jsonl.gz"])
def test_written_pairs_read_back_the_same(tmp_path, name):
    path = tmp_path / name
    assert write_preferences(iter(pairs(3000)), path) == 3000
    found = read_preferences(path, strict=True)
    assert found.pairs == pairs(3000)
    assert list(path.parent.iterdir()) == [path]


def test_parquet_feeds_datasets_with_the_columns_trainers_expect(tmp_path):
    import datasets

    write_preferences(pairs(2), tmp_path / "pairs.parquet")
    rows = datasets.Dataset.from_parquet(str(tmp_path / "pairs.parquet"), cache_dir=str(tmp_path / "cache"))
    assert rows.column_names == ["id", "source", "chosen", "rejected"]
    assert rows[1]["chosen"] == pairs(2)[1].chosen.to_messages()


def test_failure_leaves_the_earlier_file_alone(tmp_path):
    path = tmp_path / "pairs.jsonl.gz"
    write_preferences(pairs(1), path)

    def failing():
        yield pairs(2)[1]
        raise RuntimeError("out of pairs")

    with pytest.raises(RuntimeError):
        write_preferences(failing(), path)
    assert gzip.decompress(path.read_bytes()).count(b"\n") == 1
    assert list(tmp_path.iterdir()) == [path]


def test_unknown_suffix_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match=r"\.parquet, \.jsonl, \.jsonl\.gz"):
        write_preferences(pairs(1), tmp_path / "pairs.csv")


def test_rows_of_any_columns_are_written_as_lines(tmp_path):
    rows = [{"messages": [], "labels": [None, 0.5]}, {"kind": "topic"}]
    for name in ("rows.jsonl", "rows.jsonl.gz"):
        assert write_rows(iter(rows), tmp_path / name) == 2
        assert [row.content for row in iter_rows(tmp_path / name)] == rows
    with pytest.raises(InvalidInputError, match=r"ending in one of \.jsonl, \.jsonl\.gz"):
        write_rows(rows, tmp_path / "rows.parquet")
