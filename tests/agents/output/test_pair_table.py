import resource
from itertools import count
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest

from music.conversation import Conversation
from music.errors import MusicError
from music.pairs import ContrastivePair, TurnContrast, Usage
from music.preferences import read_preferences
from music_agents.output.pair_table import PairTable
from music_agents.output.shard_folder import PAIR_SCHEMA, ShardError, close_gap, drop_rows
from music_agents.quality import read_saved_pairs


def make_pair(index: int, retries: tuple[str, ...] = (), bad: str = "bad") -> ContrastivePair:
    asked = Conversation().user(f"request {index}")
    return ContrastivePair(
        id=f"music-0-{index:06d}",
        chosen=asked.assistant("good"),
        rejected=asked.assistant(bad),
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
    assert len(list(tmp_path.iterdir())) == 3  # with the manifest
    table.flush()
    assert indices(tmp_path) == [[0, 1], [2, 3], [4, 5]]


def test_shards_of_another_version_are_refused(tmp_path):
    PairTable(tmp_path, 1, failed=()).add(0, make_pair(0))
    path = tmp_path / "pairs-00000.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["retries", "persona"]), path)
    (tmp_path / "manifest.json").unlink()  # that version wrote none
    with pytest.raises(ShardError, match="other columns"):
        PairTable(tmp_path, 1, failed=())
    assert read_preferences(path).pairs[0].id == "music-0-000000"


def test_torn_temporary_files_are_removed(tmp_path):
    torn = tmp_path / "pairs-00000.parquet.tmp"
    torn.write_bytes(b"PAR1 torn")
    assert PairTable(tmp_path, 3, failed=()).num_pairs == 0
    assert not torn.exists()


def cut(directory):
    path = directory / "pairs-00001.parquet"
    path.write_bytes(path.read_bytes()[:-20])


def flip(directory):
    path = directory / "pairs-00001.parquet"
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)


def shorten(directory):
    path = directory / "pairs-00001.parquet"
    pq.write_table(pq.read_table(path).slice(0, 1), path)


def swap(directory):
    """Another run's shard, with the same ids."""
    other = directory / "other"
    other.mkdir()
    fill(other, "worse")
    (other / "pairs-00001.parquet").replace(directory / "pairs-00001.parquet")


def exchange(directory):
    one, other = directory / "pairs-00001.parquet", directory / "pairs-00002.parquet"
    aside = one.rename(directory / "aside")
    other.rename(one)
    aside.rename(other)


def fill(directory, bad="bad"):
    table = PairTable(directory, 2, failed={3})
    for index in (0, 1, 2, 4, 5, 6, 7):
        if index not in table.ended:
            table.add(index, make_pair(index, bad=bad))
    table.flush()


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.glob("pairs-*")}


@pytest.mark.parametrize("damage", [cut, flip, shorten, swap, exchange])
def test_a_shard_that_the_run_did_not_write_is_refused_and_restored_by_the_advice(tmp_path, damage):
    fill(tmp_path)
    whole = contents(tmp_path)
    damage(tmp_path)
    for _ in range(2):
        with pytest.raises(ShardError, match=r"pairs-00001\.parquet .*delete it") as caught:
            PairTable(tmp_path, 2, failed={3})
    (tmp_path / "pairs-00001.parquet").unlink()
    close_gap(tmp_path)
    fill(tmp_path)
    assert contents(tmp_path) == whole
    assert "restores it from the journal" in str(caught.value)


def test_without_a_manifest_the_order_of_the_rows_and_the_sizes_are_checked(tmp_path):
    for damage, told in ((exchange, "not in the order"), (shorten, "expected 2 rows")):
        fill(tmp_path)
        damage(tmp_path)
        (tmp_path / "manifest.json").unlink()
        with pytest.raises(ShardError, match=told):
            PairTable(tmp_path, 2, failed={3})
        for path in tmp_path.glob("pairs-*"):
            path.unlink()


def test_a_missing_shard_is_asked_for_where_pairs_are_only_read(tmp_path):
    fill(tmp_path)
    (tmp_path / "pairs-00000.parquet").unlink()
    with pytest.raises(ShardError, match=r"pairs-00000\.parquet is missing.*run the same command again"):
        list(read_saved_pairs(tmp_path))


def test_a_crash_between_manifest_and_shard_is_no_damage(tmp_path, monkeypatch):
    """Of a shard that grows, the old content and the new are both right until the next write."""

    class Crash(BaseException):
        pass

    def dies_at(step):
        steps = count()

        def replace(path, target):
            if next(steps) == step:
                raise Crash
            return real(path, target)

        return replace

    real = Path.replace
    for step in range(3):
        directory = tmp_path / str(step)
        directory.mkdir()
        table = PairTable(directory, 4, failed=())
        for index in range(2):
            table.add(index, make_pair(index))
        table.flush()
        table.add(2, make_pair(2))
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", dies_at(step))
            if step < 2:
                with pytest.raises(Crash):
                    table.flush()
            else:
                table.flush()
        later = PairTable(directory, 4, failed=())
        assert later.num_pairs == (2 if step < 2 else 3)
        for index in range(later.num_pairs, 4):
            later.add(index, make_pair(index))
        assert indices(directory) == [[0, 1, 2, 3]]


def test_shards_of_a_version_without_manifests_are_taken_and_known_from_then_on(tmp_path):
    fill(tmp_path)
    (tmp_path / "manifest.json").unlink()
    drop_rows(tmp_path, 7)
    fill(tmp_path)
    flip(tmp_path)
    with pytest.raises(ShardError, match="is damaged"):
        PairTable(tmp_path, 2, failed={3})
