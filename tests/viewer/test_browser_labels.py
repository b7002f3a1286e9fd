"""Labelling, and rewards, in real headless Chromium."""

import sqlite3
import threading

import pyarrow.parquet as pq
import pytest

from music.viewer.index import Index
from music.viewer.labels import LabelStore
from music.viewer.reward_sources import ModelRewards
from music.viewer.scoring import Scorers
from tests.viewer.conftest import FRUIT, PAYLOAD, opened, pair_of, serving, write_lines


@pytest.fixture
def labelled(tmp_path, indexed):
    """Serve four pairs, and yield the address and the labels."""
    write_lines(tmp_path / "rows.jsonl", FRUIT, *map(pair_of, range(3)))
    store = LabelStore(tmp_path / "labels.sqlite")
    with serving(Index(indexed(tmp_path / "rows.jsonl").path, store), store) as url:
        yield url, store


def open_first(page, url):
    """Open the first pair of a list, and wait until its page listens to keys."""
    page.goto(url)
    page.click(".record")
    page.wait_for_selector(".scripted #label")


def saved(page, text="Saved"):
    page.wait_for_selector(f"#label .saving:has-text('{text}')")


def pressed(page, where="#label"):
    return page.locator(f"{where} .verdict[aria-pressed=true]").evaluate_all("all => all.map(each => each.value)")


def test_pairs_are_labelled_by_keyboard_one_after_another(browser, labelled):
    url, store = labelled
    with opened(browser) as page:
        open_first(page, f"{url}/?label=unlabelled")
        for key in "adt":
            name = page.inner_text("h1")
            page.keyboard.press(key)
            page.keyboard.press("j")  # waits until the label is saved
            page.wait_for_function(
                "name => ![name, undefined].includes(document.querySelector('.scripted h1')?.innerText)", arg=name
            )
        assert sorted(label.verdict for label in store.all()) == ["agree", "disagree", "tie"]
        page.keyboard.press("u")
        page.wait_for_selector("#count >> text=3 labelled")
        assert page.locator(".record").count() == 1
        page.goto(url)
        assert page.locator(".label-tag").all_inner_texts() == ["agree", "disagree", "tie"]


def test_a_label_is_changed_noted_removed_and_there_after_a_reload(browser, labelled):
    url, store = labelled
    with opened(browser) as page:
        open_first(page, url)
        page.mouse.wheel(0, 300)
        page.keyboard.press("a")
        saved(page, "agree")
        page.keyboard.press("n")
        page.keyboard.type(f"d{PAYLOAD}")  # a letter, not a key
        page.keyboard.press("Escape")
        saved(page, "and note")
        page.keyboard.press("d")
        saved(page, "disagree")
        page.reload()
        assert pressed(page) == ["disagree"]
        assert page.input_value("#label-note") == f"d{PAYLOAD}"
        assert "pwned" not in page.title()
        page.click("#label >> text=Remove")
        page.wait_for_selector("#label:not(:has-text('Remove'))")
        assert page.input_value("#label-note") == ""
        page.reload()
        assert pressed(page) == []
    assert store.all() == []


def test_turns_are_labelled_apart_from_the_pair(browser, labelled):
    url, store = labelled
    with opened(browser) as page:
        open_first(page, url)
        page.keyboard.press("f")
        page.keyboard.press("Shift+D")
        page.wait_for_selector("#label-2 .saving:has-text('disagree')")
        page.keyboard.press("a")
        saved(page, "agree")
        page.reload()
        assert (pressed(page), pressed(page, "#label-2")) == (["agree"], ["disagree"])
    assert {label.turn: label.verdict for label in store.all()} == {0: "agree", 2: "disagree"}


def test_the_last_of_two_tabs_wins_and_the_other_sees_it_on_reload(browser, labelled):
    url, store = labelled
    with opened(browser) as one, opened(browser) as other:
        for page in (one, other):
            open_first(page, url)
        one.keyboard.press("a")
        saved(one, "agree")
        other.keyboard.press("t")
        saved(other, "tie")
        assert pressed(one) == ["agree"]
        one.reload()
        assert pressed(one) == ["tie"]
        key = one.url.rpartition("/")[2]
    assert [label.verdict for label in store.history(key)] == ["agree", "tie"]


def test_labels_work_without_a_script(browser, labelled):
    url, _ = labelled
    with opened(browser, java_script_enabled=False) as page:
        page.goto(url)
        page.click(".record")
        page.fill("#label-note", "stones are no fruit")
        page.click("#label >> text=Disagree")
        assert pressed(page) == ["disagree"]
        page.fill("#label-note", "none at all")
        page.click("#label >> text=Save note")
        assert pressed(page) == ["disagree"]
        page.click("summary >> text=Label this turn")
        page.click("#label-2 >> text=Tie")
        assert pressed(page, "#label-2") == ["tie"]
        assert page.input_value("#label-note") == "none at all"


def test_a_label_that_is_not_saved_is_shown_and_holds_the_page(browser, labelled, monkeypatch):
    url, store = labelled

    def full(label):
        raise sqlite3.OperationalError("database or disk is full")

    with opened(browser) as page:
        open_first(page, url)
        monkeypatch.setattr(store, "save", full)
        page.keyboard.press("a")
        page.wait_for_selector(".unsaved >> text=disk is full")
        page.keyboard.press("j")
        monkeypatch.undo()
        page.keyboard.press("a")
        saved(page, "agree")
        assert page.inner_text("h1") == "fruit"
        page.faults.clear()  # Chromium reports the response 507 as an error


def test_the_labels_page_downloads_the_relabelled_pairs(browser, labelled, tmp_path):
    url, _ = labelled
    with opened(browser) as page:
        open_first(page, url)
        page.keyboard.press("d")
        saved(page, "disagree")
        page.keyboard.press("u")
        page.click("#count a")
        assert "0.000" in page.inner_text(".shares tbody")
        with page.expect_download() as download:
            page.click("text=Download as parquet")
        download.value.save_as(tmp_path / "out.parquet")
    (row,) = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [message["content"] for message in row["chosen"]] == [m["content"] for m in FRUIT["rejected"]]


def test_rewards_appear_when_they_are_there(browser, tmp_path, indexed):
    write_lines(tmp_path / "rows.jsonl", FRUIT, pair_of(1))
    index = indexed(tmp_path / "rows.jsonl")
    may_load, source = threading.Event(), ModelRewards("length")
    load = source.load
    source.load = lambda: may_load.wait(60) and load()
    scorers = Scorers([source], index.path)
    with scorers.running(), serving(index, scorers=scorers) as url, opened(browser) as page:
        open_first(page, url)
        assert "the model is loaded" in page.inner_text("#rewards")
        may_load.set()
        page.wait_for_selector("#rewards svg")  # without a reload
        assert "prefers rejected, margin -1" in page.inner_text("#rewards")
        dashes = [
            page.locator(f".line-{side} polyline").evaluate("each => getComputedStyle(each).strokeDasharray")
            for side in ("chosen", "rejected")
        ]
        assert dashes[0] == "none" != dashes[1]  # told apart without colour
        assert 'img "Rewards of length by turn; the numbers are in the table"' in page.locator("body").aria_snapshot()
        page.click("text=Numbers")
        assert page.locator("#rewards tbody tr").all_inner_texts() == ["1\t9\t9", "2\t26\t27", "3\t38\t39"]
        page.keyboard.press("u")
        page.wait_for_selector(".margin.against >> text=-1")
        page.select_option("select[name=extra]", label="length prefers rejected")
        page.wait_for_url("**extra=*")
        assert page.locator(".record").count() == 1
