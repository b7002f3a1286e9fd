"""Files in any encoding and packing, folders as people keep them, and their splits."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from music import InvalidInputError
from music.preferences import RowProblem, read_preferences
from music.preferences.sources import iter_rows

ROW = {"prompt": "Hi", "chosen": "Grüße.", "rejected": "What?"}
LINE = json.dumps(ROW, ensure_ascii=False) + "\n"


def replies(path, **options):
    return [pair.chosen.messages[-1].content for pair in read_preferences(path, **options).pairs]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    ("name", "text"), [("a.jsonl", LINE * 2), ("a.json", json.dumps([ROW] * 2)), ("a.json", LINE * 2)]
)
def test_text_in_any_encoding(tmp_path, encoding, name, text):
    (tmp_path / name).write_bytes(text.encode(encoding))
    assert replies(tmp_path / name) == ["Grüße."] * 2


def test_csv_with_a_mark_quotes_line_breaks_and_long_cells(tmp_path):
    long = "word " * 40_000
    with (tmp_path / "a.csv").open("w", encoding="utf-8-sig", newline="") as file:
        table = csv.writer(file)
        table.writerows([ROW, ["Hi", 'Say "tea",\nplease.', "No."], ["Hi", long, "No."]])
    assert replies(tmp_path / "a.csv") == ['Say "tea",\nplease.', long]
    (tmp_path / "a.tsv").write_text("prompt\tchosen\trejected\nHi\tHello.\tNo.\n")
    assert replies(tmp_path / "a.tsv") == ["Hello."]


@pytest.mark.parametrize("name", ["a.JSONL", "a.ndjson", "a.jsonl.zst", "a.JSONL.GZ"])
def test_suffixes(tmp_path, name):
    kind = {"zst": "zstd", "gz": "gzip"}.get(name.lower().rpartition(".")[2])
    with pa.output_stream(str(tmp_path / name), compression=kind) as file:
        file.write(LINE.encode() * 2)
    assert replies(tmp_path / name) == ["Grüße."] * 2
    assert [row.stem for row in iter_rows(tmp_path / name)] == ["a", "a"]


def test_a_torn_zst_file_is_named(tmp_path):
    path = tmp_path / "torn.jsonl.zst"
    with pa.output_stream(str(path), compression="zstd") as file:
        file.write(LINE.encode() * 500)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InvalidInputError, match=r"torn.jsonl.zst: expected a whole zstd file"):
        read_preferences(path)


def test_nan_in_columns_that_are_not_read(tmp_path):
    (tmp_path / "a.jsonl").write_text(LINE.replace("}", ', "score": NaN, "low": -Infinity}') + LINE[:-3] + "\n")
    found = read_preferences(tmp_path / "a.jsonl")
    assert (len(found.pairs), [row.problem for row in found.rejected]) == (1, [RowProblem.INVALID_JSON])
    (tmp_path / "a.json").write_text(json.dumps([ROW | {"score": float("nan")}]))
    assert replies(tmp_path / "a.json") == ["Grüße."]


def test_what_is_no_utf8_is_a_bad_line(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(LINE.encode() + LINE.encode("latin-1") + LINE.encode())
    found = read_preferences(tmp_path / "a.jsonl")
    assert [(row.number, row.problem) for row in found.rejected] == [(2, RowProblem.INVALID_JSON)]
    assert len(found.pairs) == 2


def test_rows_within_an_object(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"version": 1, "data": [ROW, ROW]}))
    assert replies(tmp_path / "a.json") == ["Grüße."] * 2
    (tmp_path / "one.json").write_text(json.dumps(ROW))
    assert replies(tmp_path / "one.json") == ["Grüße."]


def write_table(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), path)


def test_a_folder_as_the_hub_lays_it_out_has_splits(tmp_path):
    for split in ("train", "test"):
        for shard in range(2):
            name = f"data/{split}-0000{shard}-of-00002.parquet"
            write_table(tmp_path / name, ROW | {"chosen": f"{split} {shard}"})
    assert replies(tmp_path) == ["train 0", "train 1"]
    assert replies(tmp_path, split="test") == ["test 0", "test 1"]
    assert replies(f"{tmp_path}:test") == ["test 0", "test 1"]
    with pytest.raises(InvalidInputError, match=r"got 'dev'; there are test, train. Name one with --split"):
        read_preferences(tmp_path, split="dev")


def test_the_only_split_is_read_whatever_its_name(tmp_path):
    write_table(tmp_path / "data" / "test-00000-of-00001.parquet", ROW)
    assert replies(tmp_path) == ["Grüße."]


def test_a_folder_of_lines_is_read_whole_and_a_runs_logs_are_not(tmp_path):
    for part in ("a", "b"):
        (tmp_path / f"part-{part}.jsonl").write_text(LINE)
    assert replies(tmp_path) == ["Grüße."] * 2
    write_table(tmp_path / "pairs-0.parquet", ROW | {"chosen": "Hello."})
    assert replies(tmp_path) == ["Hello."]


def test_what_save_to_disk_wrote(tmp_path):
    import datasets

    rows = datasets.Dataset.from_list([ROW, ROW | {"chosen": "Hello."}])
    rows.select([1]).save_to_disk(tmp_path / "one")
    datasets.DatasetDict(train_prefs=rows, test_prefs=rows.select([1])).save_to_disk(tmp_path / "several")
    assert replies(tmp_path / "one") == ["Hello."]
    assert replies(f"{tmp_path}/several:test_prefs") == ["Hello."]
    with pytest.raises(InvalidInputError, match="there are train_prefs, test_prefs"):
        read_preferences(tmp_path / "several")
    assert replies(tmp_path / "one" / "data-00000-of-00001.arrow") == ["Hello."]


def test_a_single_file_has_no_splits(tmp_path):
    (tmp_path / "a.jsonl").write_text(LINE)
    with pytest.raises(InvalidInputError, match="a single file has no splits"):
        read_preferences(tmp_path / "a.jsonl", split="test")


def no_hub(source):
    raise ConnectionError("no network")


@pytest.mark.parametrize(
    ("slip", "meant"),
    [("pirs.jsonl", "pairs.jsonl"), ("runs/rn", "runs/run"), ("rnus/run:train", "runs/run"), ("teas.jsonl", None)],
)
def test_a_slip_in_a_source_is_told_with_the_nearest_path(tmp_path, monkeypatch, slip, meant):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.load_dataset", no_hub)
    (tmp_path / "pairs.jsonl").write_text(LINE)
    (tmp_path / "runs" / "run").mkdir(parents=True)
    with pytest.raises(InvalidInputError) as caught:
        read_preferences(slip)
    assert str(caught.value).partition("; did you mean ")[2] == (f"{meant!r}?" if meant else "")
