import gzip
import json
import sqlite3

import pytest

from music.errors import InvalidInputError
from music.viewer.database import connect, index_path, writing
from music.viewer.index import Index
from music.viewer.indexing import IndexWriter
from music.viewer.query import Query
from music.viewer.records import Kind, pack, unpack
from music.viewer.refresh import look_at
from music.viewer.sources import require_sources
from tests.viewer.conftest import (
    FAILURE,
    FRUIT,
    ROLLOUT,
    index_of,
    pair_of,
    said,
    set_extras,
    simulated,
    write_lines,
    write_table,
)


def ids(index, **query):
    return [each.id for each in index.listing(Query(**query)).records]


def record_of(index, id):
    (found,) = [each for each in index.listing(Query(text=f'"{id}"')).records if each.id == id]
    return index.record(found.key)


def test_every_kind_of_file_in_a_folder_is_found(shown):
    folder, index = shown
    assert dict(index.options()["kind"]) == {"pair": 121, "rollout": 1, "conversation": 1, "failure": 1, "item": 1}
    others = [file.path for file in index.files() if file.is_other]
    assert others == [str(folder / "rl" / "training.jsonl")]
    assert index.is_whole()


def test_a_pair_is_read_back_whole(shown):
    pair = record_of(shown[1], "fruit")
    assert [[message.to_dict() for message in side.messages] for side in pair.sides] == [
        FRUIT["chosen"],
        FRUIT["rejected"],
    ]
    (contrast,) = pair.contrasts
    assert (contrast.turn, contrast.modified_instruction, contrast.parameters) == (1, "Name a stone.", {"k": 2})
    assert (pair.seed_id, pair.details["models"]) == ("seed-fruit", {"user": "sandbox"})
    assert pair.place == "pairs-00000.parquet row 1"
    assert unpack(pack(pair)) == pair


def test_rollouts_failures_and_items_keep_what_is_special_about_them(shown):
    _, index = shown
    rollout = record_of(index, "reward-3")
    assert rollout.decisions[0].scores == tuple(ROLLOUT["decisions"][0]["scores"])
    assert rollout.decisions[0].candidates[1][0].content == "A wren."
    failure = record_of(index, "music-0-000007")
    assert failure.kind is Kind.FAILURE
    assert failure.sides[0].messages[0].content == "<think>hm"
    assert failure.details["detail"] == "the assistant said nothing"
    item = record_of(index, "item")
    assert [side.name for side in item.sides] == ["chosen", "rejected 1", "rejected 2"]


def test_filters_select(shown):
    folder, index = shown
    assert ids(index, strategy="instruction") == ["fruit"]
    assert ids(index, source="made") == ["fruit"]
    assert index.listing(Query(turns=1, kind="pair")).num_matches == 40
    assert index.listing(Query(diverging=3, turns=3)).num_matches == 40
    assert ids(index, diverging=2, turns=3) == ["fruit"]
    assert len(ids(index, data_set=f"{folder}/pairs", page=3)) == 21
    assert ids(index, kind="' OR 1=1 --") == []


def test_lists_are_sorted_and_walked_in_the_same_order(shown):
    _, index = shown
    for query in (
        Query(),
        Query(sort="newest"),
        Query(sort="gap"),
        Query(sort="early"),
        Query(sort="late", text="Now"),
    ):
        walked(index, query)
    assert ids(index, sort="gap")[:2] == ["p119", "p118"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("grey stone", ["pear"]),
        ("STONE", ["pear"]),
        ('"grey stone"', ["pear"]),
        ('"stone grey"', []),
        ("sto", []),
        ("sto*", ["pear"]),
        ("Zürich", ["city"]),
        ("zurich", ["city"]),
        ("東京", ["city"]),
        ("京東", []),
        ("🦜", ["city"]),
        ("की", ["city"]),
        ("Name-a stone?!", ["pear"]),
        ('NEAR("a" OR * ) AND -', []),
        ('" " \' ; DROP TABLE records', []),
    ],
)
def test_search_finds_words_in_any_script(text, found, scripts):
    assert ids(scripts, text=text) == found


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scripts")
    pear = simulated(
        "pear",
        said("Name.", "A pear."),
        said("Name.", "A grey stone."),
        contrasts=[{"turn": 0, "strategy": "instruction", "modified_instruction": "Name a stone."}],
    )
    city = {"id": "city", "messages": said("Wohin?", "Nach Zürich oder 東京都. 🦜🦜 हिन्दी की बात")}
    write_lines(folder / "rows.jsonl", pear, city)
    return index_of(folder / "index.sqlite", folder / "rows.jsonl")


def numbers(index):
    """Return the numbers of records, which a record keeps until it is read again."""
    return {each.id: each.number for each in index.listing(Query()).records}


def test_only_the_new_rows_of_a_shard_that_grows_are_read(tmp_path, indexed):
    path = tmp_path / "pairs-00000.parquet"
    write_table(path, *map(pair_of, range(10)))
    before = numbers(indexed(path))
    write_table(path, *map(pair_of, range(14)))
    after = numbers(indexed(path))
    assert {id: after[id] for id in before} == before
    assert list(after) == [f"p{number}" for number in range(14)]


@pytest.mark.parametrize(
    "rows",
    [
        [pair_of(0), pair_of(99), pair_of(2), pair_of(3)],  # one changed in the midst
        [pair_of(0), pair_of(1)],  # fewer
        [pair_of(1), pair_of(2), pair_of(0), pair_of(3)],
    ],
)
def test_a_shard_whose_rows_changed_is_read_anew(tmp_path, indexed, rows):
    path = tmp_path / "pairs-00000.parquet"
    write_table(path, *map(pair_of, range(3)))
    before = numbers(indexed(path))
    write_table(path, *rows)
    after = numbers(indexed(path))
    assert list(after) == [row["id"] for row in rows]
    assert not set(after.values()) & set(before.values())


def test_a_shard_that_is_torn_meanwhile_is_read_once_it_is_whole(tmp_path, indexed):
    path = tmp_path / "pairs-00000.parquet"
    write_table(path, *map(pair_of, range(3)))
    assert len(numbers(indexed(path))) == 3
    path.write_bytes(path.read_bytes()[:500])
    assert "pairs-00000.parquet" in indexed(path).files()[0].problem
    write_table(path, *map(pair_of, range(5)))
    assert len(numbers(indexed(path))) == 5


def test_new_rows_of_a_growing_file_appear_once_they_are_whole(tmp_path, indexed):
    path = tmp_path / "rows.jsonl"
    write_lines(path, pair_of(0), pair_of(1))
    assert ids(indexed(path)) == ["p0", "p1"]
    line = json.dumps(pair_of(2))
    with path.open("a") as file:
        file.write(line[:40])
    index = indexed(path)
    assert ids(index) == ["p0", "p1"]
    keys = [each.key for each in index.listing(Query()).records]
    with path.open("a") as file:
        file.write(line[40:])  # without a line break, which a file may lack
    assert ids(indexed(path)) == ["p0", "p1", "p2"]
    with path.open("a") as file:
        file.write("\n")
    write_lines(path, pair_of(3))
    index = indexed(path)
    assert ids(index) == ["p0", "p1", "p2", "p3"]
    assert [each.key for each in index.listing(Query()).records][:2] == keys
    assert record_of(index, "p3").place == "rows.jsonl line 4"


def test_ratings_of_one_prompt_in_consecutive_lines_are_compared(tmp_path, indexed):
    ratings = [
        {"prompt": "Hi", "response": text, "helpfulness": number} for number, text in enumerate(("No.", "Hello."))
    ]
    write_lines(tmp_path / "rows.jsonl", *ratings, pair_of(1))
    index = indexed(tmp_path / "rows.jsonl")
    assert [each.title for each in index.listing(Query()).records][:1] == ["Hi"]
    write_lines(tmp_path / "rows.jsonl", pair_of(2))
    assert ids(indexed(tmp_path / "rows.jsonl")) == ["rows-1", "p1", "p2"]


def test_only_new_rows_are_read(tmp_path):
    path, index = tmp_path / "rows.jsonl", tmp_path / "index.sqlite"
    write_lines(path, *map(pair_of, range(700)))
    writer = IndexWriter(index, [str(path)])
    assert [writer.update(), writer.update()] == [700, 0]
    write_lines(path, pair_of(700))
    assert writer.update() == 1
    path.write_text(json.dumps(pair_of(5)) + "\n" * 200_000)
    assert writer.update() == 1  # another file under the same name is read from its beginning
    assert ids(Index(index)) == ["p5"]


def test_new_shards_appear_and_files_that_are_gone_vanish(tmp_path, indexed):
    folder = tmp_path / "run"
    write_table(folder / "pairs-00000.parquet", pair_of(0))
    assert ids(indexed(folder)) == ["p0"]
    write_table(folder / "pairs-00001.parquet", pair_of(1))
    assert ids(indexed(folder)) == ["p0", "p1"]
    (folder / "pairs-00000.parquet").unlink()
    index = indexed(folder)
    assert ids(index) == ["p1"]
    assert ids(index, text="Now") == ["p1"]


def test_an_update_that_was_cut_short_is_finished(tmp_path):
    write_table(tmp_path / "run" / "pairs.parquet", *map(pair_of, range(900)))
    writer = IndexWriter(tmp_path / "index.sqlite", [str(tmp_path / "run")])
    assert 0 < writer.update(limit=1) < 900
    index = Index(tmp_path / "index.sqlite")
    assert not index.is_whole()
    keys = [each.key for each in index.listing(Query()).records]
    writer.update()
    assert index.is_whole()
    assert index.listing(Query()).num_matches == 900
    assert [each.key for each in index.listing(Query()).records] == keys


def test_counts_of_filters_are_those_of_the_records(tmp_path, indexed):
    folder = tmp_path / "run"
    write_lines(folder / "a.jsonl", FRUIT, *map(pair_of, range(20)))
    write_lines(folder / "b.jsonl", {"messages": said("Hi", "Ho")})
    assert indexed(folder).options()["kind"] == [("conversation", 1), ("pair", 21)]
    write_lines(folder / "b.jsonl", pair_of(20))
    (folder / "a.jsonl").unlink()
    index = indexed(folder)
    assert index.options() == {
        "kind": [("conversation", 1), ("pair", 1)],
        "data_set": [(f"{folder}/b.jsonl", 2)],
        "source": [("counted", 1)],
        "strategy": [],
        "turns": [("1", 1), ("3", 1)],
        "diverging": [("3", 1)],
    }
    assert (
        index.num_records() == index.listing(Query()).num_matches == index.listing(Query(sort="gap")).num_matches == 2
    )


def test_the_same_record_twice_has_two_keys(tmp_path, indexed):
    write_lines(tmp_path / "rows.jsonl", pair_of(1), pair_of(1))
    first, second = indexed(tmp_path / "rows.jsonl").listing(Query()).records
    assert second.key == f"{first.key}-2"


def test_torn_files_and_bad_rows_are_problems_beside_good_ones(tmp_path, indexed):
    folder = tmp_path / "run"
    write_table(folder / "a.parquet", pair_of(0))
    whole = (folder / "a.parquet").read_bytes()
    (folder / "b.parquet").write_bytes(whole[: len(whole) // 2])
    write_lines(folder / "c.jsonl", pair_of(1), {"prompt": "Hi", "chosen": "", "rejected": "No."})
    (folder / "d.jsonl.gz").write_bytes(gzip.compress(json.dumps(pair_of(2)).encode() + b"\n" * 99_999)[:-40])
    index = indexed(folder)
    problems = {file.path.rpartition("/")[2]: file.problem for file in index.files() if file.problem}
    assert set(ids(index)) >= {"p0", "p1"}
    assert "expected a whole parquet file" in problems["b.parquet"]
    assert problems["c.jsonl"].startswith("line 2: chosen")
    assert "expected a whole gzip file" in problems["d.jsonl.gz"]


def test_a_named_file_of_another_kind_is_a_problem(tmp_path, indexed):
    write_lines(tmp_path / "steps.jsonl", {"step": 1})
    write_lines(tmp_path / "rows.jsonl", pair_of(1))
    files = indexed(tmp_path / "steps.jsonl", tmp_path / "rows.jsonl").files()
    assert [(file.num_records, file.is_other) for file in files] == [(1, False), (0, False)]
    assert "expected a row of preferences" in files[1].problem


def test_nothing_to_show_is_one_line_with_the_remedy(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInputError, match=r"empty: expected pairs, .* found none; `music simulate sandbox"):
        look_at(tmp_path / "index.sqlite", [str(tmp_path / "empty")])
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    with pytest.raises(InvalidInputError, match=r"found none \(torn.parquet: expected a whole parquet file"):
        look_at(tmp_path / "other.sqlite", [str(tmp_path / "torn.parquet")])
    (tmp_path / "pairs.jsonl").touch()
    (tmp_path / "pairs.docx").touch()
    with pytest.raises(InvalidInputError, match=r"pair.jsonl: expected a file of pairs or a folder; .* did you mean"):
        require_sources([str(tmp_path / "pair.jsonl")])
    with pytest.raises(InvalidInputError, match=r"expected a file ending in one of \.parquet"):
        require_sources([str(tmp_path / "pairs.docx")])


def test_a_run_whose_first_pairs_are_yet_to_come_is_shown(tmp_path):
    (tmp_path / "journal.sqlite").touch()
    look_at(tmp_path / "index.sqlite", [str(tmp_path)])


def listed(index):
    """Return the id, kind and reason of all records, in the order of the ids."""
    return sorted((each.id, each.kind, each.source) for each in index.listing(Query()).records)


def failed(id, reason, **fields):
    return FAILURE | {"id": id, "reason": reason, "dropped": True, **fields}


def test_a_pair_that_failed_and_was_made_later_is_listed_once(tmp_path, indexed):
    run, other = tmp_path / "run", tmp_path / "other"
    write_table(run / "pairs-00000.parquet", pair_of(0))
    write_table(other / "pairs-00000.parquet", pair_of(2))
    write_lines(run / "failures.jsonl", failed("p1", "empty"), failed("p2", "cut"), failed("p1", "cut"))
    before = [("p0", "pair", "counted"), ("p2", "pair", "counted")]
    assert listed(indexed(run, other)) == sorted([*before, ("p1", "failure", "cut"), ("p2", "failure", "cut")])
    write_table(run / "pairs-00000.parquet", pair_of(0), pair_of(1))
    index = indexed(run, other)
    assert listed(index) == sorted([*before, ("p1", "pair", "counted"), ("p2", "failure", "cut")])
    assert index.options()["kind"] == [("failure", 1), ("pair", 3)]
    write_lines(run / "failures.jsonl", failed("p1", "late"), failed("p2", "late"))
    index = indexed(run, other)
    assert listed(index) == sorted([*before, ("p1", "pair", "counted"), ("p2", "failure", "late")])
    assert index.options()["kind"] == [("failure", 1), ("pair", 3)]
    assert index.num_records() == 4


def test_a_log_of_failures_that_is_edited_is_read_anew(tmp_path, indexed):
    path = tmp_path / "failures.jsonl"
    rows = [failed(f"p{number}", "cut") for number in range(4)]
    write_lines(path, *rows)
    assert len(listed(indexed(path))) == 4
    path.unlink()
    write_lines(path, rows[0], *(failed(f"p{number}", "a longer reason than before") for number in (2, 3, 4)))
    index = indexed(path)
    reasons = {"p0": "cut", **dict.fromkeys(("p2", "p3", "p4"), "a longer reason than before")}
    assert listed(index) == [(id, "failure", reason) for id, reason in reasons.items()]
    assert [file.num_bad for file in index.files()] == [0]


def test_a_run_in_shares_is_listed_once(tmp_path, indexed):
    run = tmp_path / "run"
    for number in range(2):
        write_table(run / f"share-000{number}" / "pairs-00000.parquet", pair_of(number))
        write_lines(run / f"share-000{number}" / "failures.jsonl", failed(f"p{2 + number}", "cut"))
    (run / "shares.json").write_text("{}")
    shown = sorted([*((f"p{n}", "pair", "counted") for n in (0, 1)), *((f"p{n}", "failure", "cut") for n in (2, 3))])
    assert listed(indexed(run)) == shown
    (run / "run.json").write_text('{"status": "running"}')
    write_table(run / "pairs-00000.parquet", pair_of(0))  # it is being merged
    assert listed(indexed(run)) == shown
    write_table(run / "pairs-00000.parquet", pair_of(0), pair_of(1))
    write_lines(run / "failures.jsonl", failed("p2", "cut"), failed("p3", "cut"))
    (run / "run.json").write_text('{"status": "complete"}')
    index = indexed(run)
    assert listed(index) == shown
    assert {each.data_set for each in index.listing(Query(kind="pair")).records} == {str(run)}
    assert listed(indexed(run / "share-0001")) == [("p1", "pair", "counted"), ("p3", "failure", "cut")]


def walked(index, query):
    """Return the ids of all pages, after checking that each record's neighbours are those beside it."""
    pages = range(1, index.listing(query).num_pages + 1)
    found = [each for page in pages for each in index.listing(query.with_page(page)).records]
    keys = [each.key for each in found]
    assert index.keys(query, -1) == keys
    assert len(set(keys)) == index.listing(query).num_matches
    for before, key, after in zip([None, *keys], keys, [*keys[1:], None], strict=False):
        neighbours = index.neighbours(key, query)
        assert (neighbours.previous, neighbours.next) == (before, after)
    return [each.id for each in found]


@pytest.mark.parametrize("text", ["", "now"])
def test_lists_by_margin_are_walked_in_order(tmp_path, indexed, text):
    write_lines(tmp_path / "rows.jsonl", *map(pair_of, range(120)), pair_of(5))
    index = indexed(tmp_path / "rows.jsonl")
    keys = index.keys_of([f"p{number}" for number in range(70)])
    values = {number: float(number % 7) - 3.5 for number in range(70)}
    set_extras(index, "margin rm", {keys[f"p{number}"]: value for number, value in values.items()})
    smallest = walked(index, Query(sort="-margin rm", text=text))
    largest = walked(index, Query(sort="margin rm", text=text))
    places = {f"p{number}": values.get(number) for number in range(120)}
    assert [places[id] for id in smallest[:71]] == sorted([*values.values(), values[5]])
    assert [places[id] for id in largest[:71]] == sorted([*values.values(), values[5]], reverse=True)
    assert smallest[71:] == largest[71:] == [f"p{number}" for number in range(70, 120)]
    set_extras(index, "rare", {keys[f"p{number}"]: 1.0 for number in (3, 20, 9)})
    assert walked(index, Query(extra="rare", text=text, sort="-margin rm")) == ["p9", "p3", "p20"]
    assert walked(index, Query(extra="rare", text=text, sort="gap")) == ["p20", "p9", "p3"]
    assert walked(index, Query(sort="-margin rm", text=text, turns=3)) == [
        id for id in smallest if int(id[1:]) % 3 == 2
    ]


def test_extra_values_filter_and_sort(folder, indexed):
    index = indexed(folder)
    keys = {each.id: each.key for page in (1, 2, 3) for each in index.listing(Query(page=page)).records}
    set_extras(index, "margin", {keys["p7"]: 0.5, keys["p5"]: -2.0})
    set_extras(index, "label", {keys["p7"]: "agree", keys["p9"]: "tie"})
    assert ids(index, sort="margin")[:2] == ["p7", "p5"]
    assert ids(index, sort="-margin")[:2] == ["p5", "p7"]
    assert ids(index, extra="label") == ["p7", "p9"]
    assert ids(index, extra="label=tie") == ["p9"]
    assert index.extras(keys["p7"]) == {"label": "agree", "margin": 0.5}
    assert index.neighbours(keys["p7"], Query(sort="margin")).next == keys["p5"]


def test_a_damaged_or_older_index_is_built_anew(tmp_path):
    path = tmp_path / "index.sqlite"
    path.write_bytes(b"not a database" * 100)
    connect(path).close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 999")
    database = connect(path)
    assert database.execute("SELECT count(*) FROM records").fetchone() == (0,)


def test_one_process_writes_at_a_time(tmp_path):
    with (
        writing(tmp_path / "index.sqlite", wait=False) as first,
        writing(tmp_path / "index.sqlite", wait=False) as other,
    ):
        assert (first, other) == (True, False)


def test_each_set_has_an_index_of_its_own_that_only_its_user_can_read(tmp_path):
    one, other = index_path([str(tmp_path)]), index_path([str(tmp_path / "x")])
    assert one != other
    assert one == index_path([str(tmp_path)])
    assert one.parent.stat().st_mode & 0o077 == 0


def test_an_address_holds_the_whole_query():
    query = Query(text='a "b c"', kind="pair", turns=3, sort="gap", page=2)
    assert Query.of(query.parameters()) == query
    assert Query().parameters() == {}
    assert Query.of({"page": "0", "turns": "many", "diverging": "-1", "other": "x"}) == Query()
