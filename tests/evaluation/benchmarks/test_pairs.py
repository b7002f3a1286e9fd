import pytest

from music.errors import InvalidInputError


def side(*texts):
    return [{"role": "assistant" if n % 2 else "user", "content": text} for n, text in enumerate(texts)]


SKYWORK = [
    {"id": "a", "chosen": side("Hi", "Hello there."), "rejected": side("Hi", "What?")},
    {"id": "b", "chosen": side("Hi", "Yes.", "So?", "No."), "rejected": side("Hi", "Yes.", "So?", "Never ever.")},
    {"id": "c", "chosen": side("HI ", "Hey."), "rejected": side("HI ", "Ho!!"), "source": "elsewhere"},
]


def test_accuracy_by_turns_by_the_longer_side_and_by_source(read, figures):
    found = figures(read("preferences", SKYWORK), {"a": (1.0, 0.0), "b": (0.0, 1.0), "c": (1.0, 1.0)})

    assert found["overall", "overall"].estimate.value == pytest.approx(1 / 3)
    assert found["overall", "overall"].note == "1 tie, counted as missed"
    assert found["turns", "1 turn"].estimate.value == 0.5
    assert found["turns", "2 turns"].estimate.value == 0.0
    assert found["length", "chosen side longer"].estimate.value == 1.0
    assert found["length", "rejected side longer"].estimate.value == 0.0
    assert found["length", "same length"].num_items == 1
    assert found["sources", "elsewhere"].num_items == 1
    assert found["overall", "overall"].estimate.num == 1  # the same first message throughout: one seed conversation


def test_all_formats_of_preferences_are_read(read):
    hh = {"chosen": "\n\nHuman: Hi\n\nAssistant: Hello.", "rejected": "\n\nHuman: Hi\n\nAssistant: What?"}
    ultra = {"prompt": "Hi", "chosen": "Hello.", "rejected": "What?"}
    trl = {"prompt": side("Hi"), "chosen": side("Hi", "Hello.")[1:], "rejected": side("Hi", "What?")[1:]}
    items = read("preferences", [hh, ultra, trl, {"chosen": side("Hi", "Hello."), "rejected": side("Hi", "What?")}])
    assert {tuple(c.messages[-1].content for c in item.completions) for item in items.items} == {("Hello.", "What?")}
    assert [item.id for item in items.items] == ["rows-1", "rows-2", "rows-3", "rows-4"]


def test_long_conversations_are_pooled(read, figures):
    rows = [{"id": str(n), "chosen": side(*"ab" * n), "rejected": side(*"ab" * (n - 1), "a", "c")} for n in (5, 6, 9)]
    found = figures(read("preferences", rows), dict.fromkeys(("5", "6", "9"), (1.0, 0.0)))
    assert found["turns", "5 turns"].num_items == 1
    assert found["turns", "6 turns or more"].num_items == 2


def test_a_bad_row_is_named(read):
    row = {"chosen": side("Hi", "Ho"), "rejected": side("Hi", "Ho")}
    with pytest.raises(InvalidInputError, match=r"rows\.jsonl, line 1, rejected: expected another conversation"):
        read("preferences", [row])


def test_rows_of_no_known_format_are_refused_with_their_columns(read):
    with pytest.raises(InvalidInputError, match=r"got columns question \(str\), answer \(str\)"):
        read("preferences", [{"question": "Hi", "answer": "Ho"}])


def test_ties_and_all_pairs_of_a_ranking_are_accounted_for(read):
    answers = [{"answer": text, "rank": rank} for text, rank in (("A.", 1), ("B.", 2), ("C.", 2))]
    items = read("preferences", [{"prompt": "\n\nHuman: Hi\n\nAssistant: ", "answers": answers}])
    assert [item.id for item in items.items] == ["rows-1/1", "rows-1/2"]
    assert [(one.place, one.reason) for one in items.rejected] == [("line 1", "a tie")]
