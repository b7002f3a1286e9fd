import resource

import datasets
import pyarrow.parquet as pq
import pytest

from music.conversation import Conversation
from music.errors import MusicError
from music.pairs import ContrastivePair, TurnContrast, Usage
from music.preferences import read_preferences
from music_agents.output.schema import PAIR_SCHEMA
from music_agents.output.shards import PairTable, ShardError, drop_rows


def make_pair(index: int, retries: tuple[str, ...] = ()) -> ContrastivePair:
    asked = Conversation().user(f"request {index}")
    return ContrastivePair(
        id=f"music-0-{index:06d}",
        chosen=asked.assistant("good"),
        rejected=asked.assistant("bad"),
        seed_id="s",
        num_seed_messages=0,
        contrasts=(TurnContrast(turn=0, strategy="instruction", modified_instruction="other", parameters={"k": 2}),),
        models={"user": "u", "assistant": "a", "contrast": "c", "judge": "j"},
        usage=Usage(num_calls=4),
        seed=0,
        persona='{"goal": "a trip"}',
        retries=retries,
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
    table = PairTable(tmp_path, 2, failed=())
    pairs = make_pair(0), make_pair(1, retries=("user:repetition",))
    for index, pair in enumerate(pairs):
        table.add(index, pair)
    assert pq.read_schema(tmp_path / "pairs-00000.parquet") == PAIR_SCHEMA
    assert read_preferences(tmp_path / "pairs-00000.parquet").pairs == pairs


def test_rows_load_with_datasets(tmp_path):
    PairTable(tmp_path, 1, failed=()).add(0, make_pair(0, retries=("user:repetition",)))
    files = str(tmp_path / "*.parquet")
    (row,) = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"), split="train")
    assert row["chosen"] == [{"role": "user", "content": "request 0"}, {"role": "assistant", "content": "good"}]
    assert row["models"] == {"user": "u", "assistant": "a", "contrast": "c", "weaker": None, "judge": "j"}
    assert row["contrasts"][0]["parameters"] == '{"k": 2}'
    assert row["persona"] == '{"goal": "a trip"}'
    assert row["retries"] == ["user:repetition"]


def test_retries_are_counted_over_the_rows_of_all_sessions(tmp_path):
    table = PairTable(tmp_path, 2, failed=())
    table.add(0, make_pair(0, retries=("user:repetition", "assistant:refusal")))
    table.add(2, make_pair(2, retries=("user:repetition",)))
    assert table.retries == {"user:repetition": 1, "assistant:refusal": 1}  # index 1 is still out
    table.add(1, make_pair(1))
    table.flush()
    later = PairTable(tmp_path, 2, failed=())
    later.add(3, make_pair(3, retries=("user:repetition",)))
    assert later.retries == {"user:repetition": 3, "assistant:refusal": 1}


def test_what_waits_for_a_lower_index_is_counted(tmp_path):
    table = PairTable(tmp_path, 10, failed={1})
    waiting = []
    for index in (2, 4, 3, 0, 5):
        table.add(index, make_pair(index))
        waiting.append(table.num_waiting)
    assert waiting == [1, 2, 3, 0, 0]


@pytest.mark.parametrize("first_index", range(9))
def test_dropping_rows_and_adding_them_again_restores_every_file(tmp_path, first_index):
    directories = [tmp_path / "whole", tmp_path / "dropped"]
    for directory in directories:
        directory.mkdir()
        table = PairTable(directory, 3, failed={2})
        for index in (0, 1, 3, 4, 5, 6, 7):
            table.add(index, make_pair(index))
        table.flush()
    drop_rows(directories[1], first_index)
    kept = [index for index in (0, 1, 3, 4, 5, 6, 7) if index < first_index]
    assert [index for shard in indices(directories[1]) for index in shard] == kept
    table = PairTable(directories[1], 3, failed={2})
    for index in (0, 1, 3, 4, 5, 6, 7):
        if index not in table.ended:
            table.add(index, make_pair(index))
    table.flush()
    for path in directories[0].iterdir():
        assert path.read_bytes() == (directories[1] / path.name).read_bytes()


def test_a_full_disk_leaves_the_shards_whole_and_the_rows_in_hand(tmp_path):
    table = PairTable(tmp_path, 2, failed=())
    for index in range(3):
        table.add(index, make_pair(index))
    table.flush()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        for index in (5, 4, 3):
            if index != 3:
                table.add(index, make_pair(index))
                continue
            with pytest.raises(MusicError, match="make room"):
                table.add(index, make_pair(index))
        with pytest.raises(MusicError, match="make room"):
            table.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert indices(tmp_path) == [[0, 1], [2]]
    assert len(list(tmp_path.iterdir())) == 2
    table.flush()
    assert indices(tmp_path) == [[0, 1], [2, 3], [4, 5]]


def test_shards_of_another_version_are_refused(tmp_path):
    PairTable(tmp_path, 1, failed=()).add(0, make_pair(0))
    path = tmp_path / "pairs-00000.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["retries", "persona"]), path)
    with pytest.raises(ShardError, match="other columns"):
        PairTable(tmp_path, 1, failed=())
    assert read_preferences(path).pairs[0].id == "music-0-000000"


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
