"""Labels on disk: durable, kept with their history, found again by the texts of a pair."""

import os
import signal
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlencode, urlsplit

import pytest

from music.errors import InvalidInputError
from music.viewer.index import Index
from music.viewer.labels import Label, LabelStore, Verdict, default_label_path
from music.viewer.query import Query
from tests.viewer.conftest import FRUIT, pair_of, serving, write_lines
from tests.viewer.test_server import ask, viewing


@pytest.fixture
def store(tmp_path):
    return LabelStore(tmp_path / "labels.sqlite")


def token_of(page):
    return page.partition('name="token" value="')[2].partition('"')[0]


def post(url, path, fields, **headers):
    """Send a form; return the status and the text."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=30)
    headers = {"Content-Type": "application/x-www-form-urlencoded"} | headers
    try:
        connection.request("POST", path, urlencode(fields), headers)
        with connection.getresponse() as response:
            return response.status, response.read().decode()
    finally:
        connection.close()


def keys_of(index, **query):
    return {each.id: each.key for each in index.listing(Query(**query)).records}


def test_the_last_label_wins_and_the_history_has_all(store):
    store.save(Label(key="k", verdict=Verdict.AGREE, note="sure", labeller="Ann"))
    store.save(Label(key="k", verdict=Verdict.DISAGREE))
    store.save(Label(key="k", turn=2, verdict=Verdict.TIE))
    assert {turn: label.verdict for turn, label in store.of("k").items()} == {0: "disagree", 2: "tie"}
    assert [(each.turn, each.verdict, each.note, each.labeller) for each in store.history("k")] == [
        (0, "agree", "sure", "Ann"),
        (0, "disagree", "", ""),
        (2, "tie", "", ""),
    ]


def test_a_removed_label_stays_in_the_history(store):
    store.save(Label(key="k", verdict=Verdict.AGREE))
    store.save(Label(key="k"))
    assert store.of("k") == {}
    assert len(store.history("k")) == 2


def test_a_label_is_synced_to_disk_before_save_returns(store):
    store.save(Label(key="k", verdict=Verdict.TIE))
    assert store._database().execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert store._database().execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert LabelStore(store.path).of("k")[0].verdict == "tie"
    assert store.path.stat().st_mode & 0o077 == 0


def test_looking_creates_no_file(store):
    assert (store.of("k"), store.all(), store.keys("unlabelled")) == ({}, [], [])
    assert not store.path.exists()


def test_the_default_file_is_not_in_the_cache():
    assert default_label_path().parts[-2:] == ("music-rm", "labels.sqlite")
    assert str(default_label_path()).startswith(os.environ["XDG_DATA_HOME"])


@pytest.mark.parametrize("kind", ["text", "database"])
def test_a_file_of_another_kind_is_refused_unchanged(tmp_path, kind):
    path = tmp_path / "other.sqlite"
    if kind == "text":
        path.write_text("no database, but long enough to be read as one" * 20)
    else:
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE mine(x)")
        database.close()
    before = path.read_bytes()
    with pytest.raises(InvalidInputError, match=r"--labels .*other.sqlite: expected a file of labels"):
        LabelStore(path)
    assert path.read_bytes() == before


def test_labels_survive_another_order_other_ids_and_another_file(tmp_path, indexed, store):
    rows = [{name: pair_of(number)[name] for name in ("chosen", "rejected")} for number in range(4)]
    write_lines(tmp_path / "a.jsonl", *rows)
    first = indexed(tmp_path / "a.jsonl")
    key = keys_of(first)["a-3"]
    store.save(Label(key=key, verdict=Verdict.DISAGREE))
    write_lines(tmp_path / "b.jsonl", *reversed(rows))
    (tmp_path / "index.sqlite").unlink()
    moved = Index(indexed(tmp_path / "b.jsonl").path, store)
    assert keys_of(moved, label="disagree") == {"b-2": key}


def test_copies_of_a_pair_share_its_label(tmp_path, indexed, store):
    write_lines(tmp_path / "a.jsonl", pair_of(1), pair_of(1) | {"id": "again"}, pair_of(2))
    index = Index(indexed(tmp_path / "a.jsonl").path, store)
    store.save(Label(key=keys_of(index)["p1"], verdict=Verdict.AGREE))
    assert keys_of(index, label="labelled").keys() == {"p1", "again"}
    assert keys_of(index, label="unlabelled").keys() == {"p2"}


def test_lists_are_filtered_by_labels(folder, indexed, store):
    index = Index(indexed(folder / "pairs").path, store)
    keys = keys_of(index)
    assert index.listing(Query(label="unlabelled")).num_matches == 121  # no failures
    store.save(Label(key=keys["p1"], verdict=Verdict.AGREE))
    store.save(Label(key=keys["p2"], verdict=Verdict.TIE, note="both fine"))
    store.save(Label(key=keys["p3"], note="look again"))
    store.save(Label(key=keys["p4"], turn=1, verdict=Verdict.AGREE))
    store.save(Label(key="of another set", verdict=Verdict.AGREE))
    assert index.listing(Query(label="unlabelled")).num_matches == 119
    assert keys_of(index, label="agree").keys() == {"p1"}
    assert keys_of(index, label="labelled").keys() == {"p1", "p2"}
    assert keys_of(index, label="note").keys() == {"p2", "p3"}
    assert index.neighbours(keys["p1"], Query(label="unlabelled")).next == keys["p3"]
    assert index.present(store.keys("labelled")).keys() == {keys["p1"], keys["p2"]}


def test_a_form_saves_a_label_and_leads_back(tmp_path, indexed, store):
    write_lines(tmp_path / "rows.jsonl", FRUIT)
    index = indexed(tmp_path / "rows.jsonl")
    (key,) = keys_of(index).values()
    with serving(index, store) as url:
        token = token_of(ask(url, f"/record/{key}")[2])
        path = f"/record/{key}/label?label=unlabelled"
        fields = {"token": token, "turn": "0", "verdict": "disagree", "note": "a stone\r\nis no <b>fruit</b>"}
        assert post(url, path, fields)[0] == 303
        assert store.of(key)[0].note == "a stone\nis no <b>fruit</b>"
        page = ask(url, f"/record/{key}")[2]
        assert "Saved: <b>disagree</b>" in page
        assert "is no &lt;b&gt;fruit" in page
        assert "is no &lt;b&gt;fruit" in ask(url)[2]
        assert post(url, path, {"token": token, "turn": "0", "note": "only the note"})[0] == 303
        assert (store.of(key)[0].verdict, store.of(key)[0].note) == ("disagree", "only the note")
        assert post(url, path, {"token": token, "turn": "0", "note": "x", "remove": "1"})[0] == 303
        assert store.of(key) == {}


def test_forms_of_other_sites_and_bad_forms_save_nothing(folder, indexed, store):
    index = indexed(folder)
    key, failure = keys_of(index, kind="pair")["fruit"], next(iter(keys_of(index, kind="failure").values()))
    with serving(index, store) as url:
        good = {"token": token_of(ask(url, f"/record/{key}")[2]), "turn": "0", "verdict": "agree"}
        path = f"/record/{key}/label"
        for status, changes, headers in [
            (403, {"token": ""}, {}),
            (403, {"token": "é"}, {}),
            (403, {}, {"Origin": "http://evil.example"}),
            (403, {}, {"Origin": "http://127.0.0.1:1"}),
            (403, {}, {"Sec-Fetch-Site": "cross-site"}),
            (403, {}, {"Host": "evil.example"}),
            (400, {"verdict": "maybe"}, {}),
            (400, {"turn": "-1"}, {}),
            (400, {"turn": "²"}, {}),
            (400, {"note": "x" * 10_001}, {}),
            (413, {"note": "x" * 100_000}, {}),
        ]:
            assert post(url, path, good | changes, **headers)[0] == status, (changes, headers)
        assert post(url, "/record/none/label", good)[0] == 404
        assert post(url, f"/record/{failure}/label", good)[0] == 404
        assert store.all() == []
        assert post(url, path, good, Origin="null")[0] == 303


def test_a_label_that_cannot_be_saved_is_an_error(folder, indexed, tmp_path):
    (tmp_path / "file").write_text("")
    index = indexed(folder)
    key = keys_of(index, kind="pair")["fruit"]
    with serving(index, LabelStore(tmp_path / "file" / "labels.sqlite")) as url:
        token = token_of(ask(url, f"/record/{key}")[2])
        status, text = post(url, f"/record/{key}/label", {"token": token, "turn": "0", "verdict": "agree"})
    assert status == 507
    assert "labels.sqlite" in text


def test_a_killed_viewer_loses_no_acknowledged_label(tmp_path):
    write_lines(tmp_path / "rows.jsonl", *map(pair_of, range(40)))
    path = tmp_path / "labels.sqlite"
    saved = []
    with viewing(tmp_path / "rows.jsonl", "--labels", path) as (process, url):
        links = [part.partition('"')[0] for part in ask(url)[2].split('class="record" href="')[1:]]
        token = token_of(ask(url, links[0])[2])

        def label(number):
            link = links[number % len(links)]
            fields = {"token": token, "turn": str(number), "verdict": "tie"}
            try:
                status, _ = post(url, f"{link}/label", fields)
            except (OSError, HTTPException):
                return
            assert status == 303
            saved.append((link.rpartition("/")[2], number))
            if len(saved) == 30:
                os.kill(process.pid, signal.SIGKILL)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(label, range(300)))
    assert 30 <= len(saved) < 300
    assert set(saved) <= {(label.key, label.turn) for label in LabelStore(path).all()}
