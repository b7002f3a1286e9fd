import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from music import ContrastivePair, Conversation, InvalidInputError, TurnContrast, Usage
from music.preferences import Format, RowProblem, read_preferences

HELLO = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
BYE = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Bye."}]
SKYWORK = {"chosen": HELLO, "rejected": BYE, "source": "set-a"}
HH = {"chosen": "\n\nHuman: Hi\n\nAssistant: Hello.", "rejected": "\n\nHuman: Hi\n\nAssistant: Bye."}
ULTRAFEEDBACK = {"prompt": "Hi", "chosen": "Hello.", "rejected": "Bye."}
ULTRAFEEDBACK_LISTS = {"prompt": "Hi", "prompt_id": "p", "chosen": HELLO, "rejected": BYE, "score_chosen": 8.5}
TRL = {"prompt": HELLO[:1], "chosen": HELLO[1:], "rejected": BYE[1:]}


def contrastive(index=0):
    seed = Conversation().user("Hi").assistant("Hello.")
    return ContrastivePair(
        id=f"pair-{index}",
        chosen=seed.user("More?").assistant("Yes."),
        rejected=seed.user("More?").assistant("Blue."),
        source="set-a",
        seed_id=f"seed-{index}",
        num_seed_messages=2,
        contrasts=(TurnContrast(turn=0, strategy="instruction", modified_instruction="Which?"),),
        models={"user": "m@u", "assistant": "m@a"},
        usage=Usage(num_calls=4, prompt_tokens=10, completion_tokens=5),
        seed=index,
    )


@pytest.mark.parametrize(
    ("row", "format"),
    [
        (SKYWORK, Format.SKYWORK),
        (HH, Format.HH),
        (ULTRAFEEDBACK, Format.ULTRAFEEDBACK),
        (ULTRAFEEDBACK_LISTS, Format.ULTRAFEEDBACK),
        (TRL, Format.TRL),
    ],
)
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "rows.json", "rows.json.gz"])
def test_every_format_is_detected_and_gives_the_same_pair(write_jsonl, row, format, name):
    found = read_preferences(write_jsonl([row], name))
    assert found.format is format
    (pair,) = found.pairs
    assert (pair.chosen.to_messages(), pair.rejected.to_messages()) == (HELLO, BYE)
    assert pair.id == "rows-1"
    assert pair.source == row.get("source", "rows")


def test_json_array_counts_rows_not_lines(write_jsonl):
    path = write_jsonl([json.dumps([HH, HH | {"rejected": None}, HH], indent=1)], "rows.json")
    found = read_preferences(path)
    assert [pair.id for pair in found.pairs] == ["rows-1", "rows-3"]
    assert [(row.unit, row.number) for row in found.rejected] == [("row", 2)]


def test_own_ids_are_kept(write_jsonl):
    rows = [SKYWORK | {"id": "abc"}, SKYWORK | {"id": 7}, SKYWORK | {"id": None}]
    assert [pair.id for pair in read_preferences(write_jsonl(rows)).pairs] == ["abc", "7", "rows-3"]


def test_parquet_file_and_folder_of_shards(tmp_path):
    for shard in ("b", "a"):
        rows = [SKYWORK | {"source": shard}, SKYWORK | {"rejected": None}]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{shard}.parquet")
    assert read_preferences(tmp_path / "a.parquet").pairs[0].id == "a-1"
    found = read_preferences(tmp_path)
    assert [(pair.id, pair.source) for pair in found.pairs] == [("a-1", "a"), ("b-1", "b")]
    assert "missing_side 2 (a.parquet row 2, b.parquet row 2)" in found.summary()


def test_simulated_pairs_come_back_whole(tmp_path, write_jsonl):
    pairs = (contrastive(0), contrastive(1).model_copy(update={"models": {"user": "m@u", "contrast": "m@c"}}))
    pq.write_table(pa.Table.from_pylist([pair.to_row() for pair in pairs]), tmp_path / "pairs-0.parquet")
    assert read_preferences(tmp_path / "pairs-0.parquet").pairs == pairs
    assert read_preferences(write_jsonl([contrastive(3).to_row()])).pairs == (contrastive(3),)


def test_torn_record_of_a_simulated_pair_is_a_bad_row(write_jsonl):
    (row,) = read_preferences(write_jsonl([contrastive().to_row() | {"contrasts": [{"turn": -1}]}])).rejected
    assert row.problem is RowProblem.WRONG_TYPE
    assert "contrasts.0" in row.detail


def with_rejected(rejected):
    return SKYWORK | {"rejected": rejected}


BAD = {
    "null side": (with_rejected(None), RowProblem.MISSING_SIDE),
    "no side": ({"chosen": HELLO}, RowProblem.MISSING_SIDE),
    "side of another type": (with_rejected("Bye."), RowProblem.WRONG_TYPE),
    "message of another type": (with_rejected(["Hi", "Bye."]), RowProblem.WRONG_TYPE),
    "an image": (with_rejected([{"role": "user", "content": [{"type": "image_url"}]}]), RowProblem.WRONG_TYPE),
    "null content": (with_rejected([{"role": "user", "content": None}]), RowProblem.WRONG_TYPE),
    "id of another type": (SKYWORK | {"id": 1.5}, RowProblem.WRONG_TYPE),
    "row of another type": ("[1, 2]", RowProblem.WRONG_TYPE),
    "unknown role": (with_rejected([*HELLO, {"role": "narrator", "content": "x"}]), RowProblem.UNKNOWN_ROLE),
    "blank text": (with_rejected([HELLO[0], {"role": "assistant", "content": " \n"}]), RowProblem.EMPTY_TEXT),
    "two users": (with_rejected([HELLO[0], *BYE]), RowProblem.ROLES_OUT_OF_ORDER),
    "late system": (with_rejected([*BYE, {"role": "system", "content": "x"}]), RowProblem.ROLES_OUT_OF_ORDER),
    "assistant first": (with_rejected(BYE[1:]), RowProblem.ROLES_OUT_OF_ORDER),
    "user last": (with_rejected([*BYE, HELLO[0]]), RowProblem.NO_REPLY),
    "no messages": (with_rejected([]), RowProblem.NO_REPLY),
    "same sides": (with_rejected(HELLO), RowProblem.IDENTICAL_SIDES),
    "torn line": ('{"chosen": [', RowProblem.INVALID_JSON),
}


@pytest.mark.parametrize(("row", "problem"), BAD.values(), ids=BAD.keys())
def test_bad_row_is_counted_by_reason_with_its_line(write_jsonl, row, problem):
    found = read_preferences(write_jsonl([SKYWORK, "", row, SKYWORK]))
    assert [pair.id for pair in found.pairs] == ["rows-1", "rows-4"]
    assert [(r.problem, r.unit, r.number) for r in found.rejected] == [(problem, "line", 3)]
    assert found.num_rows == 3


@pytest.mark.parametrize(("row", "problem"), BAD.values(), ids=BAD.keys())
def test_strict_refuses_the_first_bad_row_by_name(write_jsonl, row, problem):
    with pytest.raises(InvalidInputError, match=rf"rows\.jsonl, line 2, .*expected .*got .*\({problem}\)"):
        read_preferences(write_jsonl([SKYWORK, row]), strict=True)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (ULTRAFEEDBACK | {"prompt": " "}, RowProblem.EMPTY_TEXT),
        (ULTRAFEEDBACK | {"prompt": None}, RowProblem.MISSING_PROMPT),
        (ULTRAFEEDBACK | {"rejected": 3}, RowProblem.WRONG_TYPE),
        (ULTRAFEEDBACK | {"rejected": ""}, RowProblem.EMPTY_TEXT),
    ],
)
def test_bad_ultrafeedback_row(write_jsonl, row, problem):
    found = read_preferences(write_jsonl([ULTRAFEEDBACK, row]))
    assert [r.problem for r in found.rejected] == [problem]


def test_bad_trl_prompt(write_jsonl):
    rows = [TRL, TRL | {"prompt": HELLO}, TRL | {"prompt": None}]
    found = read_preferences(write_jsonl(rows))
    assert [r.problem for r in found.rejected] == [RowProblem.ROLES_OUT_OF_ORDER, RowProblem.MISSING_PROMPT]


def test_bad_first_rows_do_not_hide_the_format(write_jsonl):
    found = read_preferences(write_jsonl(["nonsense", {"chosen": None, "rejected": None}, SKYWORK]))
    assert found.format is Format.SKYWORK
    assert (len(found.pairs), len(found.rejected)) == (1, 2)


def test_forced_format_is_taken_at_its_word(write_jsonl):
    found = read_preferences(write_jsonl([SKYWORK]), format=Format.HH)
    assert [row.problem for row in found.rejected] == [RowProblem.WRONG_TYPE]


def test_undetectable_format_names_the_columns_and_the_known_formats(write_jsonl):
    with pytest.raises(
        InvalidInputError, match=r"question \(str\), score \(int\).*nearest.*missing: .*known: skywork.*hh.*ultraf.*trl"
    ):
        read_preferences(write_jsonl([{"question": "Hi", "score": 1}]))


def test_empty_file_is_an_error(write_jsonl):
    with pytest.raises(InvalidInputError, match="found no row"):
        read_preferences(write_jsonl([]))


def test_summary_tells_pairs_format_and_what_was_dropped(write_jsonl):
    rows = [SKYWORK, *[with_rejected(None)] * 7, with_rejected(HELLO)]
    assert read_preferences(write_jsonl(rows)).summary() == (
        "1 pairs from rows.jsonl; 8 of 9 rows dropped: "
        "missing_side 7 (lines 2, 3, 4, 5, 6, ...), identical_sides 1 (line 9)"
    )
    assert read_preferences(write_jsonl([SKYWORK])).summary() == "1 pairs from rows.jsonl"


def test_limit_stops_early_and_says_so(write_jsonl):
    path = write_jsonl([SKYWORK, with_rejected(None), SKYWORK, SKYWORK])
    found = read_preferences(path, limit=2)
    assert [pair.id for pair in found.pairs] == ["rows-1", "rows-3"]
    assert "the first 2 as asked" in found.summary()
    assert "as asked" not in read_preferences(path, limit=3).summary()


def test_unreadable_sources_are_named(tmp_path, write_jsonl):
    whole = write_jsonl([SKYWORK] * 100, "torn.jsonl.gz")
    whole.write_bytes(whole.read_bytes()[:-20])
    (tmp_path / "plain.jsonl.gz").write_text(json.dumps(SKYWORK))
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "torn.json").write_text("[{]")
    (tmp_path / "rows.xlsx").write_text("chosen,rejected")
    (tmp_path / "empty").mkdir()
    for name in ("torn.jsonl.gz", "plain.jsonl.gz", "torn.parquet", "torn.json", "rows.xlsx", "empty", "absent.jsonl"):
        with pytest.raises(InvalidInputError, match=f"{name}: expected"):
            read_preferences(tmp_path / name)


def test_slip_in_a_local_path_does_not_go_to_the_network(tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInputError, match="found nothing there"):
        read_preferences("runs/absent")


def test_hub_id_is_loaded_through_datasets(monkeypatch):
    import datasets

    asked = []

    def load_dataset(name):
        asked.append(name)
        rows = datasets.Dataset.from_list([SKYWORK, SKYWORK | {"rejected": HELLO}])
        return datasets.DatasetDict(test_prefs=rows, train_prefs=rows.select([]))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    found = read_preferences("owner/some-set-v0.2", split="test_prefs")
    assert read_preferences("owner/some-set-v0.2:test_prefs").pairs == found.pairs
    assert asked == ["owner/some-set-v0.2"] * 2
    assert [pair.id for pair in found.pairs] == ["some-set-v0.2-1"]
    assert [row.problem for row in found.rejected] == [RowProblem.IDENTICAL_SIDES]
    with pytest.raises(InvalidInputError, match="'train'; there are test_prefs, train_prefs"):
        read_preferences("owner/some-set-v0.2")


def test_hub_failure_is_worded(monkeypatch):
    import datasets

    def load_dataset(name):
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(InvalidInputError, match="owner/absent: there is no such file here, and a data set"):
        read_preferences("owner/absent")
