"""The pages in real headless Chromium: what a reader sees and does."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest

from music.viewer.index import Index
from music.viewer.indexing import IndexWriter
from tests.viewer.conftest import FRUIT, PAYLOAD, opened, pair_of, said, serving, simulated, write_lines

ODD = [
    simulated("rtl", said("سلام", "مرحبا بالعالم"), said("سلام", "وداعا للعالم"), contrasts=[]),
    simulated("emoji", said("Hi", "Fine 👩‍👩‍👧 thanks"), said("Hi", "Fine 👩‍👩‍👦 thanks"), contrasts=[]),
    simulated("huge", said("Hi", "long " * 200_000 + "yes"), said("Hi", "long " * 200_000 + "no"), contrasts=[]),
    simulated(PAYLOAD, said(PAYLOAD, PAYLOAD + "a"), said(PAYLOAD, PAYLOAD + "b"), source=PAYLOAD)
    | {"contrasts": [{"turn": 0, "strategy": PAYLOAD, "modified_instruction": PAYLOAD, "parameters": "{}"}]},
]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Serve pairs: a plain one first, odd ones last."""
    folder = tmp_path_factory.mktemp("browser")
    path = folder / f"<img src=x onerror=alert(1)>{len(ODD)}.jsonl"
    write_lines(path, FRUIT, *map(pair_of, range(70)), *ODD)
    write_lines(folder / "torn.jsonl", pair_of(99), {"prompt": "Hi", "chosen": PAYLOAD, "rejected": ""})
    writer = IndexWriter(folder / "index.sqlite", [str(path), str(folder / "torn.jsonl")])
    writer.update()
    with serving(Index(folder / "index.sqlite")) as url:
        yield url


@pytest.fixture
def page(browser, address):
    """Return a page on the list; an error in its script, or a violated policy, fails the test."""
    with opened(browser) as page:
        page.goto(address)
        yield page


def open_record(page, id):
    page.goto(f"{page.url.split('?')[0]}?q=%22{id}%22")
    page.click(".record")


def query(page):
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}


def test_filter_search_open_and_go_back(page):
    page.select_option("select[name=strategy]", "instruction")
    page.wait_for_url("**/?strategy=instruction")
    assert page.locator(".record").count() == 1
    page.click("text=Clear")
    page.fill("#q", '"grey stone"')
    page.press("#q", "Enter")
    page.wait_for_url("**/?q=*")
    assert page.locator("mark.found").all_inner_texts() == ["grey stone"]
    page.click(".record")
    assert page.inner_text("h1") == "fruit"
    page.go_back()
    assert page.input_value("#q") == '"grey stone"'
    page.go_back()
    assert page.input_value("#q") == ""
    assert page.input_value("select[name=strategy]") == ""
    page.go_forward()
    assert query(page) == {"q": '"grey stone"'}


def test_the_first_difference_is_in_sight_and_its_words_stand_out(page):
    page.click(".record")
    assert page.inner_text(".jump").startswith("Only turn 2 of 3 differs")
    first = page.locator(".turn.first")
    box = first.bounding_box()
    assert box["y"] + box["height"] < 900  # without scrolling
    assert first.locator("mark").all_inner_texts() == ["ripe pear", "grey stone"]
    colours = [mark.evaluate("each => getComputedStyle(each).backgroundColor") for mark in first.locator("mark").all()]
    assert len({*colours, "rgba(0, 0, 0, 0)"}) == 3
    left, right = (first.locator(f".side-{name}").bounding_box() for name in ("chosen", "rejected"))
    assert left["y"] == right["y"]
    assert left["x"] + left["width"] <= right["x"]


def test_shared_turns_and_contrasts_unfold_on_demand(page):
    page.click(".record")
    hidden = page.get_by_text("Name a fruit."), page.get_by_text("Name a stone.")
    assert not any(each.is_visible() for each in hidden)
    page.click("text=1 turn that both sides share")
    page.click("text=How it was made worse")
    assert all(each.is_visible() for each in hidden)
    page.keyboard.press("s")
    assert not hidden[0].is_visible()
    page.click(".map >> text='1'")
    assert hidden[0].is_visible()
    page.click("text=About this pair")
    assert page.get_by_text("seed-fruit").is_visible()


def test_the_keyboard_leads_everywhere(page):
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    assert page.locator(".record").first.evaluate("each => each === document.activeElement")
    page.keyboard.press("Enter")
    page.wait_for_selector("h1 >> text=fruit")
    page.keyboard.press("f")
    assert page.locator(".turn.first").evaluate("each => each === document.activeElement")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("h1 >> text=p0")
    page.keyboard.press("j")
    page.wait_for_selector("h1 >> text=p1")
    page.keyboard.press("k")
    page.wait_for_selector("h1 >> text=p0")
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    page.keyboard.press("?")
    assert not page.locator("#keys").is_visible()
    page.keyboard.press("u")
    page.wait_for_selector(".records")
    page.keyboard.press("/")
    page.keyboard.type("jjj?")  # in a field, keys are letters
    assert page.input_value("#q") == "jjj?"


def test_j_goes_on_to_the_next_page_of_the_list(page):
    for _ in range(51):
        page.keyboard.press("j")
    page.wait_for_url("**/?page=2")
    assert page.inner_text("#count").startswith("51–76 of 76")


def test_texts_that_look_like_markup_are_inert(page):
    titles = [page.title()]
    page.goto(f"{page.url}?page=2")
    titles.append(page.title())
    page.click(".record:has-text('onerror') >> nth=0")
    page.click("summary >> text=How it was made worse")
    page.click("summary >> text=About this pair")
    titles.append(page.title())
    assert page.locator("main img, main script, main iframe").count() == 0
    assert "pwned" not in titles[0] + titles[1]
    assert titles[2].startswith(PAYLOAD)  # as text
    assert PAYLOAD in page.inner_text(".turn.first")
    page.goto(f"{page.url.split('/record')[0]}/?q={PAYLOAD}&sort={PAYLOAD}&kind={PAYLOAD}")
    assert page.input_value("#q") == PAYLOAD
    assert page.locator("main img, main script").count() == 0


def test_right_to_left_texts_and_emoji_are_whole(page):
    open_record(page, "rtl")
    reply = page.locator(".side-chosen .text")
    assert reply.evaluate("each => getComputedStyle(each).direction") == "rtl"
    page.goto(f"{page.url.split('/record')[0]}/")
    open_record(page, "emoji")
    assert page.locator("mark").all_inner_texts() == ["👩‍👩‍👧", "👩‍👩‍👦"]


def test_a_megabyte_is_cut_until_asked_for(page):
    open_record(page, "huge")
    chosen = page.locator(".cell.side-chosen")
    assert len(chosen.inner_text()) < 21_000
    chosen.locator("summary").click()
    assert chosen.locator("mark").inner_text() == "yes"
    assert len(chosen.inner_text()) > 1_000_000


def test_a_phone_shows_one_column(browser, address):
    with opened(browser) as page:
        page.set_viewport_size({"width": 390, "height": 844})
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.click(".record")
        left, right = (page.locator(f".turn.first .side-{name}").bounding_box() for name in ("chosen", "rejected"))
        assert left["x"] == right["x"]
        assert left["y"] + left["height"] <= right["y"]
        assert page.locator(".turn.first .side").all_inner_texts() == ["Chosen", "Rejected"]
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_texts_have_contrast_in_light_and_dark(browser, address, scheme):
    with opened(browser, color_scheme=scheme) as page:
        page.goto(f"{address}/?kind=pair")
        poor = page.evaluate(POOR_CONTRAST)
        page.click(".record")
        for each in page.locator("summary").all():
            each.click()
        poor += page.evaluate(POOR_CONTRAST)
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert poor == []
    assert (max(map(int, re.findall(r"\d+", dark))) < 60) == (scheme == "dark")


POOR_CONTRAST = """() => {
  const parse = colour => (colour.match(/[\\d.]+/g) ?? []).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map(each => each / 255)
    .map(each => each <= 0.03928 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4)
    .reduce((sum, each, place) => sum + each * [0.2126, 0.7152, 0.0722][place], 0);
  const behind = element => {
    for (let each = element; each; each = each.parentElement) {
      const colour = parse(getComputedStyle(each).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll("main *, header *")].filter(each =>
    [...each.childNodes].some(node => node.nodeType === 3 && node.textContent.trim()) && each.checkVisibility()
    && !each.matches(".off, option, .hidden")
  ).flatMap(each => {
    const [low, high] = [luminance(parse(getComputedStyle(each).color)), luminance(behind(each))].sort((a, b) => a - b);
    const ratio = (high + 0.05) / (low + 0.05);
    return ratio < 4.5 ? [`${each.className || each.localName}: ${ratio.toFixed(2)}`] : [];
  });
}"""


def test_screen_readers_hear_names(page):
    page.click(".record")
    tree = page.locator("body").aria_snapshot()
    for part in ('heading "fruit" [level=1]', 'navigation "Turns"', 'navigation "Previous and next"'):
        assert part in tree
    assert re.search(r'region "Turn 2 first difference"', tree)
    assert re.search(r"(?i)chosen assistant", tree)
    assert (
        page.locator("a, button, input, select").evaluate_all(
            "all => all.filter(each => each.checkVisibility()"
            " && !each.innerText && !each.ariaLabel && !each.labels?.length).length"
        )
        == 0
    )


def test_problems_are_shown(page):
    page.click("text=1 file with problems")
    assert "torn.jsonl: 1 shown, 1 row cannot be used. line 2:" in page.inner_text(".problems")


def test_the_page_reads_without_its_script(browser, address):
    with opened(browser, java_script_enabled=False) as page:
        page.goto(address)
        page.select_option("select[name=strategy]", "instruction")
        page.click("text=Apply")
        page.click(".record")
        page.click("text=1 turn that both sides share")
        assert page.locator("#turn-1").get_by_text("An apple.").is_visible()


def test_new_records_of_a_growing_file_are_announced(browser, tmp_path):
    path = tmp_path / "rows.jsonl"
    write_lines(path, pair_of(0))
    writer = IndexWriter(tmp_path / "index.sqlite", [str(path)])
    writer.update()
    with serving(Index(tmp_path / "index.sqlite")) as url, opened(browser) as page:
        page.goto(url)
        write_lines(path, pair_of(1), pair_of(2))
        writer.update()
        page.click("#news a")
        assert page.locator(".record").count() == 3
