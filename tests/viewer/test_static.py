"""Static pages: what is selected, that they need nothing else, and how they read in Chromium from a file."""

import re

import pytest

from music.errors import InvalidInputError
from music.viewer.config import Selection, ViewerConfig
from music.viewer.database import index_path
from music.viewer.index import Index
from music.viewer.selection import write_selection
from music.viewer.static_page import MAX_BYTES, StaticRecord, write_static
from tests.viewer.conftest import FAILURE, FRUIT, PAYLOAD, opened, pair_of, said, set_extras, simulated, write_lines

ODD = simulated(PAYLOAD, said(PAYLOAD, PAYLOAD + "a"), said(PAYLOAD, PAYLOAD + "b"), source=PAYLOAD)


def write_pairs(folder):
    path = folder / "<pairs>.jsonl"
    write_lines(path, FRUIT, *map(pair_of, range(120)), ODD)
    return path


@pytest.fixture(scope="module")
def shared_pairs(tmp_path_factory):
    """Return a file of pairs, for tests that change neither it nor its index."""
    return write_pairs(tmp_path_factory.mktemp("static"))


@pytest.fixture
def pairs(tmp_path):
    return write_pairs(tmp_path)


def selecting(pairs, folder):
    """Return what writes a selection and returns the ids on the page, in order."""

    def write(*models, **selection):
        out = folder / "out.html"
        config = ViewerConfig(static=out, labels=folder / "labels", selection=selection, models=models)
        write_selection([str(pairs)], config)
        return re.findall(r'<bdi class="id">(.*?)</bdi>', out.read_text())

    return write


@pytest.fixture
def select(shared_pairs, tmp_path):
    return selecting(shared_pairs, tmp_path)


@pytest.fixture
def select_own(pairs, tmp_path):
    return selecting(pairs, tmp_path)


@pytest.fixture(scope="module")
def whole(shared_pairs, tmp_path_factory):
    """Return a page of all pairs."""
    folder = tmp_path_factory.mktemp("whole")
    selecting(shared_pairs, folder)(limit=1000)
    return folder / "out.html"


def test_selections(select):
    assert select() == ["fruit", *(f"p{number}" for number in range(49))]
    assert select(limit=2) == ["fruit", "p0"]
    assert len(select(limit=1000)) == 122
    assert select(search='"grey stone"') == ["fruit"]
    assert select(filter=("turns=3", "diverging=2")) == ["fruit"]
    assert select(sort="gap", limit=2) == ["p119", "p118"]
    assert select(ids=("p7", "fruit")) == ["p7", "fruit"]


def test_the_worst_have_the_lowest_margins(select_own, pairs, tmp_path, capsys):
    select_own()
    index = Index(index_path([str(pairs)]))
    keys = index.keys_of(["p1", "p2", "p3"])
    set_extras(index, "margin rm", {keys["p1"]: 1.0, keys["p2"]: -2.5, keys["p3"]: 0.25})
    assert select_own(worst=2) == ["p2", "p3"]
    assert "margin rm <b>-2.5</b>" in (tmp_path / "out.html").read_text()
    assert "out.html: 2 conversations, 0.0 MB" in capsys.readouterr().out
    set_extras(index, "margin other", {keys["p1"]: 1.0})
    with pytest.raises(InvalidInputError, match="several models: choose --sort '-margin other' or --sort '-margin rm'"):
        select_own(worst=2)
    assert select_own(sort="-margin rm", limit=1) == ["p2"]


def test_the_worst_of_a_model_that_is_named_now(select_own, tmp_path):
    worst = select_own("length", worst=3)
    page = (tmp_path / "out.html").read_text()
    assert page.count('<svg class="chart"') == 3
    assert len(set(re.findall(r'<section class="rewards" id="(.*?)"', page))) == 3
    assert worst == select_own("length", sort="-margin length", limit=3)
    assert "margin length <b>" in (tmp_path / "out.html").read_text()


def test_the_worst_are_pairs_with_rewards_of_the_model_alone(select_own, pairs, tmp_path):
    failure = {**FAILURE, "id": "failed"}
    unscored = {"id": "one", "messages": said("Hi", "Ho")}
    write_lines(pairs, pair_of(3), failure, unscored)
    select_own()
    index = Index(index_path([str(pairs)]))
    set_extras(index, "margin other", dict.fromkeys(index.keys_of(["p1", "p2"]).values(), -1000.0))
    found = select_own("length", worst=1000)
    assert len(found) == len(set(found)) == 122  # a copy of a pair is left out
    assert found[:2] != ["p1", "p2"]
    page = (tmp_path / "out.html").read_text()
    assert "122 of 125 conversations, those with the lowest margins of length." in page
    assert "margin other" not in page
    assert page.count('<svg class="chart"') == 122
    with pytest.raises(InvalidInputError, match="--worst: length has rewards of none of the selected pairs"):
        select_own("length", worst=3, filter=("kind=failure",))


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ({"search": "nowhere"}, "nothing is selected"),
        ({"filter": ("colour=red",)}, "--filter colour=red: expected NAME=VALUE with a name of diverging, kind,"),
        ({"filter": ("turns=many",)}, "--filter turns: expected a number"),
        ({"sort": "size"}, "--sort size: expected one of file, newest, gap"),
        ({"ids": ("fruit", "none")}, "--ids none: no conversation has this id"),
        ({"ids": ("fruit",), "search": "x"}, "--ids names the conversations"),
        ({"worst": 3}, "--worst: no pair has rewards: name a model"),
        ({"worst": 3, "sort": "gap"}, "--worst is an order: leave out --sort"),
    ],
)
def test_bad_selections(select, selection, message):
    with pytest.raises(InvalidInputError, match=message):
        select(**selection)


def test_a_selection_needs_a_page(shared_pairs):
    with pytest.raises(InvalidInputError, match=r"expected --static FILE\.html with them"):
        write_selection([str(shared_pairs)], ViewerConfig(selection=Selection(search="x")))


def test_a_large_page_is_refused_and_leaves_the_old_one(tmp_path, select_own, pairs):
    half = "word " * (MAX_BYTES // 8)
    write_lines(pairs, *(simulated(f"big{side}", said("Hi", half), said("Hi", "No")) for side in "ab"))
    select_own(search="big*", limit=1)
    before = (tmp_path / "out.html").read_text()
    with pytest.raises(
        InvalidInputError, match=r"expected at most 10 MB, .* these 2 conversations make 12.* choose fewer"
    ):
        select_own(search="big*")
    assert (tmp_path / "out.html").read_text() == before


def test_every_id_is_there_once(whole):
    page = whole.read_text().partition("<script>")[0]
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids)) > 500
    targets = re.findall(r'(?:href="#|aria-labelledby=")([^"]+)"', page)
    assert set(targets) <= set(ids)
    assert not re.search(r'(src|href)="(?!#|data:,)', page)
    assert PAYLOAD not in page


def test_the_same_record_twice(tmp_path, indexed, shared_pairs):
    index = indexed(shared_pairs)
    record = index.record(index.keys_of(["fruit"])["fruit"])
    assert record is not None
    write_static(tmp_path / "twice.html", "Twice", "", [StaticRecord(record), StaticRecord(record)])
    assert (tmp_path / "twice.html").read_text().count("<article id=") == 2


@pytest.fixture
def page(browser, whole):
    """Return the page of a selection, opened from its file, without a network."""
    with opened(browser, offline=True) as page:
        requests = []
        page.on("request", lambda request: requests.append(request.url))
        page.goto(whole.as_uri())
        yield page
        assert {url.partition("#")[0] for url in requests} == {whole.as_uri()}


def test_the_keyboard_leads_everywhere(page):
    assert not page.locator("article").first.is_visible()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    assert page.inner_text("article:visible h1") == "fruit"
    assert page.locator("article:visible mark").all_inner_texts() == ["ripe pear", "grey stone"]
    page.keyboard.press("s")
    assert page.get_by_text("Name a fruit.").last.is_visible()
    page.keyboard.press("f")
    assert page.locator("article:visible .turn.first").evaluate("each => each === document.activeElement")
    page.keyboard.press("j")
    page.wait_for_selector("article:visible h1 >> text=p0")
    page.keyboard.press("k")
    page.wait_for_selector("article:visible h1 >> text=fruit")
    page.go_back()
    page.wait_for_selector("article:visible h1 >> text=p0")
    page.keyboard.press("u")
    page.wait_for_selector("#list:visible")
    assert page.locator(".record").nth(1).evaluate("each => each === document.activeElement")


def test_search_narrows_the_list_and_the_neighbours(page):
    page.keyboard.press("/")
    page.keyboard.type("grey STONE")
    assert page.locator("#list li:visible").count() == 1
    assert page.inner_text("#found") == "1 of 122"
    page.click(".record:visible")
    assert page.locator("[rel=next].off").count() == 1


def test_payloads_are_text(page):
    page.click(".record >> nth=-1")
    assert page.inner_text("article:visible h1") == PAYLOAD
    assert "pwned" not in page.title().partition(" ")[0]


def test_it_reads_without_javascript_and_on_a_phone(browser, select, tmp_path):
    select(limit=20)
    with opened(browser, java_script_enabled=False, color_scheme="dark") as page:
        page.set_viewport_size({"width": 390, "height": 800})
        page.goto((tmp_path / "out.html").as_uri())
        assert page.locator("article:visible").count() == 20
        page.click(".record >> nth=1")
        assert page.url.endswith("#" + page.locator("article").nth(1).get_attribute("id"))


def test_a_link_to_a_turn_opens_its_conversation(page):
    turn = page.locator("article .turn.first").nth(3).get_attribute("id")
    page.goto(f"{page.url.partition('#')[0]}#{turn}")
    page.wait_for_selector(f"#{turn}:visible" if turn[0].isalpha() else f"[id='{turn}']:visible")
    assert page.locator("article:visible").count() == 1
