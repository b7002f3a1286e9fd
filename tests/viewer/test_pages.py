"""The pages as HTML: what they show, and that no text becomes markup."""

from html.parser import HTMLParser

import pytest

from music.conversation import Message
from music.viewer.addresses import ServerUrls
from music.viewer.differences import mark_differences
from music.viewer.list_page import ListPage, list_page
from music.viewer.listing import Listing, Neighbours
from music.viewer.query import Query
from music.viewer.record_page import RecordPage, record_page
from music.viewer.records import Kind, Record, Side, key_of
from music.viewer.rendering import message_page
from music.viewer.turns import contrasts_by_turn, facts_of
from music.viewer.views import view_of
from tests.viewer.conftest import FRUIT, PAYLOAD, said, simulated

URLS = ServerUrls()
VOID = {"meta", "link", "input", "br", "img"}


class Page(HTMLParser):
    """A page's elements and texts; a tag that is never closed, or closed twice, is an error."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.open, self.texts, self.texts_in = [], [], [], {}
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.texts.append(text)
        if self.open:
            self.texts_in.setdefault(self.open[-1], []).append(text)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def all(self, tag, **attributes):
        wanted = {name.rstrip("_"): value for name, value in attributes.items()}
        return [found for name, found in self.elements if name == tag and wanted.items() <= found.items()]


def record_from(row, **fields):
    sides = tuple(Side(name, tuple(map(Message.model_validate, row[name]))) for name in ("chosen", "rejected"))
    return Record(id=row["id"], kind=Kind.PAIR, data_set="set", place="rows.jsonl line 1", sides=sides, **fields)


def page_of(record, query=None, neighbours=None):
    page = RecordPage(
        key=key_of(record), record=record, query=query or Query(), neighbours=neighbours or Neighbours(None, "next-key")
    )
    return Page(record_page(page, URLS))


def pair_with(chosen, rejected, **fields):
    return record_from({"id": "it", "chosen": said(*chosen), "rejected": said(*rejected)}, **fields)


def test_the_first_difference_is_named_linked_and_highlighted():
    page = page_of(record_from(FRUIT))
    assert "Only turn 2 of 3 differs" in page.text
    assert page.all("a", href="#turn-2", class_="jump")
    (first,) = [each for each in page.all("section") if "first" in each["class"].split()]
    assert first["id"] == "turn-2"
    assert "1 turn that both sides share" in page.text


def test_the_first_of_several_turns_that_differ_is_named():
    page = page_of(pair_with(("Hi", "Yes.", "More?", "Sure."), ("Hi", "No.", "More?", "Nope.")))
    assert "First difference in turn 1 of 2" in page.text


def test_the_only_turn_that_differs_is_named_so():
    page = page_of(pair_with(("Hi", "Yes.", "More?", "Sure."), ("Hi", "Yes.", "More?", "Nope.")))
    assert "Only turn 2 of 2 differs" in page.text
    assert page.texts_in["span"].count("Yes.") == 1  # what comes before the difference, beside the folded turns


def test_replies_with_nothing_in_common_are_not_marked_and_their_lengths_are_named():
    page = page_of(pair_with(("Hi", "Blue skies are above."), ("Hi", "No.")))
    assert "mark" not in page.texts_in
    assert "Different throughout: 21 characters chosen, 3 characters rejected" in page.text


def test_a_reply_that_is_cut_is_marked_where_it_lacks_words():
    page = page_of(pair_with(("Hi", "Blue skies are far above the sea."), ("Hi", "Blue")))
    assert page.texts_in["mark"] == ["skies are far above the sea."]
    assert "Different throughout" not in page.text


def test_differing_words_are_marked_on_their_side():
    page = page_of(record_from(FRUIT))
    assert page.texts_in["mark"] == ["ripe pear", "grey stone"]


def test_a_later_turn_that_is_the_same_says_so():
    assert page_of(record_from(FRUIT)).text.count("same on both sides") == 1


def test_contrasts_stand_in_the_turn_of_the_conversation_that_they_changed():
    row = simulated("it", said("a", "b", "c", "d", "e", "f"), said("a", "b", "c", "x", "e", "y"), num_seed_messages=2)
    record = record_from(row, num_seed_messages=2, contrasts=record_contrasts(row))
    assert {turn: each.modified_instruction for turn, each in contrasts_by_turn(record).items()} == {3: "Name a stone."}
    page = page_of(record)
    assert "How it was made worse: instruction" in page.text
    assert "Name a stone." in page.text


def record_contrasts(row):
    from music.pairs import TurnContrast

    return tuple(map(TurnContrast.model_validate, row["contrasts"]))


def test_sides_of_different_lengths_are_aligned():
    record = pair_with(("a", "b", "c", "d"), ("a", "x"))
    facts = facts_of(record)
    assert (facts.num_turns, facts.diverging_turn, facts.chosen_length, facts.rejected_length) == (2, 1, 2, 1)
    assert "rejected has no such message" in page_of(record).text


def test_a_difference_before_the_first_turn_is_named():
    row = {side: [{"role": "system", "content": side}, *said("Hi", "Ho")] for side in ("chosen", "rejected")}
    record = record_from({"id": "it", **row})
    assert facts_of(record).diverging_turn == 0
    assert "The system messages differ" in page_of(record).text


def test_tool_calls_are_shown():
    call = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"function": {"name": "lookup", "arguments": {"q": "<b>"}}}],
    }
    row = {
        "chosen": [*said("Hi"), call, {"role": "tool", "content": "42", "name": "lookup"}, *said("", "It is 42.")[1:]],
        "rejected": said("Hi", "No."),
    }
    page = page_of(record_from({"id": "it", **row}))
    assert '"q": "<b>"' in "".join(page.texts_in["pre"])
    assert "tool · lookup" in page.text


def test_a_huge_message_is_cut_with_its_rest_behind_show_all():
    reply = "word " * 200_000
    page = page_of(pair_with(("Hi", reply + "end."), ("Hi", reply + "stop.")))
    assert "Show all: 1.0 million characters" in page.text
    assert "".join(page.texts).count("word") == 400_000


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Sure. Mind the cost side.", "Sure. Mind the timing side. Fine."),
        ("", "x"),
        ("same", "same"),
        (" spaces\n around ", "spaces\n\n around\t"),
        ("你好吗今天", "你好今天"),
        ("a👩‍👩‍👧 b", "a👩‍👩‍👦 b"),
        ("हिन्दी की", "हिन्दी का"),
        ("x " * 50_000, "y " * 50_000),
        ("aaa", "aaaa"),
    ],
)
def test_marked_pieces_join_to_the_texts(one, other):
    marked = mark_differences(one, other)
    assert tuple("".join(span.text for span in spans) for spans in marked) == (one, other)
    assert any(span.differs for spans in marked for span in spans) == (one.split() != other.split())


def test_marks_never_split_a_character():
    for spans in mark_differences("a👩‍👩‍👧 b", "a👩‍👩‍👦 b"):
        assert next(span.text for span in spans if span.differs).startswith("a👩")


def test_an_island_between_changes_is_not_shown_as_equal():
    marked, _ = mark_differences("one two three of four five six", "eins zwei drei of vier fünf sechs")
    assert [span.text for span in marked] == ["one two three of four five six"]


def test_items_and_rollouts_have_a_page():
    messages = tuple(map(Message.model_validate, said("Name a tree.", "An oak.")))
    other = tuple(map(Message.model_validate, said("Name a tree.", "A cat.")))
    sides = (Side("chosen", messages), Side("rejected 1", other), Side("rejected 2", other))
    page = page_of(Record(id="it", kind=Kind.ITEM, data_set="s", place="p", sides=sides))
    assert page.text.count("Name a tree.") == 1
    assert page.text.count("A cat.") == 2
    assert "First difference" not in page.text


def test_no_text_becomes_markup():
    row = simulated(PAYLOAD, said(PAYLOAD, PAYLOAD + "a"), said(PAYLOAD, PAYLOAD + "b"))
    contrast = record_contrasts(row)[0].model_copy(
        update={"strategy": PAYLOAD, "modified_instruction": PAYLOAD, "turn": 0, "parameters": {PAYLOAD: PAYLOAD}}
    )
    record = record_from(row, source=PAYLOAD, seed_id=PAYLOAD, contrasts=(contrast,), details={PAYLOAD: [PAYLOAD]})
    page = page_of(record, Query(text=PAYLOAD, kind=PAYLOAD, sort=PAYLOAD), Neighbours(PAYLOAD, PAYLOAD))
    assert not page.all("img")
    assert [script["src"] for script in page.all("script")] == [URLS.asset("viewer.js")]
    assert "pwned" in page.text


def test_every_part_of_a_page_has_a_name_for_screen_readers():
    page = page_of(record_from(FRUIT))
    ids = [each["id"] for _, each in page.elements if "id" in each]
    assert len(ids) == len(set(ids))
    assert {each["aria-labelledby"] for each in page.all("section")} <= set(ids)
    assert all(each.get("aria-label") for each in page.all("nav"))
    assert len(page.all("h1")) == 1
    assert page.all("main", id="main")
    assert page.all("a", class_="skip", href="#main")
    assert [each["dir"] for each in page.all("div") if each.get("class") == "text"]


def test_a_long_first_message_is_cut_at_a_word():
    assert facts_of(pair_with(("Tell me\n more.", "b"), ("Tell me\n more.", "c"))).title == "Tell me more."
    title = facts_of(pair_with(("word " * 99, "b"), ("word " * 99, "c"))).title
    assert title.endswith("word word…")
    assert len(title) <= 201
    assert facts_of(pair_with(("語" * 999, "b"), ("語" * 999, "c"))).title == "語" * 200 + "…"


def test_an_empty_list_says_so():
    page = ListPage(query=Query(text="zz"), listing=Listing((), 0), options={}, files=[], num_records=7, is_whole=True)
    assert "Nothing found among 7" in Page(list_page(page, URLS)).text


def test_a_message_links_to_the_list():
    page = Page(message_page("Nothing here", PAYLOAD, URLS))
    assert page.all("a", href="/")
    assert not page.all("img")


def test_the_shared_turns_come_first():
    view = view_of(record_from(FRUIT))
    assert [turn.number for turn in view.shared] == [1]
    assert [turn.number for turn in view.turns] == [2, 3]
    assert view.first_difference == 2
