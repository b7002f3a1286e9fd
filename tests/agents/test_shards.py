import pyarrow.parquet as pq
import pytest

from music.conversation import Conversation
from music.pairs import ContrastivePair, TurnContrast, Usage
from music_agents.shards import PAIR_SCHEMA, PairTable, ShardError


def make_pair(index: int) -> ContrastivePair:
    asked = Conversation().user(f"request {index}")
    return ContrastivePair(
        id=f"music-0-{index:06d}",
        chosen=asked.assistant("good"),
        rejected=asked.assistant("bad"),
        seed_id="s",
        num_seed_messages=0,
        contrasts=(TurnContrast(turn=0, strategy="instruction", modified_instruction="other"),),
        models={"user": "u", "assistant": "a", "contrast": "c"},
        usage=Usage(num_calls=4),
        seed=0,
    )


def indices(directory) -> list[list[int]]:
    return [
        [int(id_[-6:]) for id_ in pq.read_table(path)["id"].to_pylist()] for path in sorted(directory.glob("*.parquet"))
    ]


def test_rows_stand_in_the_order_of_indices_whatever_order_they_come_in(tmp_path):
    table = PairTable(tmp_path, 3, failed=())
    for index in (4, 2, 0):
        table.add(index, make_pair(index))
    assert indices(tmp_path) == []  # index 1 is still out
    table.add(1, make_pair(1))
    assert indices(tmp_path) == [[0, 1, 2]]
    table.add(3, None)
    table.flush()
    assert indices(tmp_path) == [[0, 1, 2], [4]]
    assert table.num_pairs == 4


def test_a_short_last_shard_is_filled_up_by_a_later_session(tmp_path):
    table = PairTable(tmp_path, 3, failed=())
    for index in range(4):
        table.add(index, make_pair(index))
    table.flush()
    later = PairTable(tmp_path, 3, failed={5})
    assert later.ended == {0, 1, 2, 3, 5}
    later.flush()
    for index in (6, 4, 7):
        later.add(index, make_pair(index))
    later.flush()
    assert indices(tmp_path) == [[0, 1, 2], [3, 4, 6], [7]]
    whole = tmp_path / "whole"
    whole.mkdir()
    table = PairTable(whole, 3, failed={5})
    for index in (0, 1, 2, 3, 4, 6, 7):
        table.add(index, make_pair(index))
    table.flush()
    for path in whole.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


def test_rows_read_back_as_pairs(tmp_path):
    table = PairTable(tmp_path, 1, failed=())
    table.add(0, make_pair(0))
    written = pq.read_table(tmp_path / "pairs-00000.parquet")
    assert written.schema.equals(PAIR_SCHEMA)
    (row,) = written.to_pylist()
    sides = {side: Conversation.from_messages(row.pop(side)) for side in ("chosen", "rejected")}
    assert ContrastivePair(**row, **sides) == make_pair(0)


def test_torn_temporary_files_are_removed(tmp_path):
    torn = tmp_path / "pairs-00000.parquet.tmp"
    torn.write_bytes(b"PAR1 torn")
    assert PairTable(tmp_path, 3, failed=()).num_pairs == 0
    assert not torn.exists()


@pytest.mark.parametrize(
    ("break_it", "told"), [("delete", "put it back"), ("cut", "cannot read"), ("short", "expected 1 rows")]
)
def test_shards_that_a_run_cannot_have_left_are_refused(tmp_path, break_it, told):
    table = PairTable(tmp_path, 1, failed=())
    for index in range(2):
        table.add(index, make_pair(index))
    first = tmp_path / "pairs-00000.parquet"
    if break_it == "delete":
        first.unlink()
    elif break_it == "cut":
        first.write_bytes(first.read_bytes()[:-20])
    else:
        pq.write_table(pq.read_table(first).slice(0, 0), first)
    with pytest.raises(ShardError, match=told):
        PairTable(tmp_path, 1, failed=())
