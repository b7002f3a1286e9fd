import pytest

from music.errors import InvalidInputError


def pair(text, label, **changes):
    return {"input": f"Say {text}.", "output_1": text, "output_2": f"Not {text}", "label": label} | changes


def test_the_labelled_output_is_chosen_and_sets_are_told_by_their_files(read, values):
    items = read("llmbar", Natural=[pair("a", 1), pair("b", 2)], Neighbor=[pair("c", 1)], manual__2=[pair("d", 1)])
    assert [item.completions[0].messages[-1].content for item in items.items] == ["a", "Not b", "c", "d"]
    assert [item.subset for item in items.items] == ["Natural", "Natural", "Neighbor", "Manual"]
    found = values(items, {item.id: (1.0, 0.0) if item.subset != "Neighbor" else (0.0, 1.0) for item in items.items})
    assert found["overall", "overall"] == 3 / 4
    assert found["overall", "mean of 2 of 4 adversarial sets"] == 1 / 2
    assert (found["sets", "Natural"], found["sets", "GPTOut"]) == (1.0, None)


def test_a_bad_label_is_named(read):
    with pytest.raises(InvalidInputError, match=r"rows.jsonl, line 1, label: expected 1 or 2, got 3"):
        read("llmbar", [pair("a", 3)])
