import pytest

from music.errors import InvalidInputError


def talk(text, turns):
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": text}]
    return [*messages, {"role": "user", "content": "More?"}, {"role": "assistant", "content": f"{text}, again"}][
        : 2 * turns
    ]


def steer(preference, domain="general", turns=1, **changes):
    context = [*talk("Well", 2), {"role": "user", "content": f"{preference}?"}] if turns == 3 else talk("", 1)[:1]
    row = {"context": context, "response1": "One.", "response2": "Two.", "overall_preference": preference}
    return row | {"domain": domain, "language": "english"} | changes


def battle(winner, turns=1, **changes):
    sides = {f"conversation_{side}": talk(f"Model {side}", turns) for side in "ab"}
    return {"id": f"{winner}-{turns}", "winner": winner, "language": "en", "is_code": False} | sides | changes


def right(items, ids):
    return {item.id: (1.0, 0.0) if item.id in ids else (0.0, 1.0) for item in items.items}


def test_helpsteer3_is_grouped_by_turns_domain_strength_and_language(read, values):
    items = read("helpsteer3", [steer(-3), steer(1, "code", 3), steer(0), steer(2, "code", language="german")])
    assert [item.completions[0].messages[-1].content for item in items.items] == ["One.", "Two.", "Two."]
    assert [row.reason for row in items.rejected] == ["a tie"]
    found = values(items, right(items, {"rows-1", "rows-2"}))
    assert found["overall", "overall"] == pytest.approx(2 / 3)
    assert (found["turns", "1 turn"], found["turns", "3 turns"]) == (0.5, 1.0)
    assert (found["domains", "general"], found["domains", "code"]) == (1.0, 0.5)
    assert (found["strength", "much better"], found["strength", "better"]) == (1.0, 0.0)
    assert (found["languages", "english"], found["languages", "german"]) == (1.0, 0.0)


def test_lmarena_is_grouped_by_turns_code_and_language(read, values):
    parts = [{"type": "text", "text": "Model b", "image": None}]
    both = battle("model_b", 1, id="parts")
    both["conversation_b"][1]["content"] = parts
    items = read(
        "lmarena", [battle("model_a", 2), battle("model_b", is_code="True"), battle("both_bad"), battle("tie"), both]
    )
    assert [row.reason for row in items.rejected] == ["a tie"] * 2
    assert items.items[2].completions[0].messages[-1].content == "Model b"
    found = values(items, right(items, {"model_a-2", "parts"}))
    assert (found["turns", "1 turn"], found["turns", "2 turns"]) == (0.5, 1.0)
    assert (found["code", "code"], found["code", "no code"]) == (0.0, 1.0)
    assert found["languages", "en"] == pytest.approx(2 / 3)


def test_a_vote_on_an_early_turn_is_cut_there_however_the_number_is_written(read):
    for turn in (1, 1.0):
        item = read("lmarena", [battle("model_a", 2, turn=turn)]).items[0]
        assert item.completions[0].num_turns == 1


def test_a_bad_column_is_named(read):
    with pytest.raises(InvalidInputError, match=r"rows.jsonl, line 1, is_code: expected true, false or null"):
        read("lmarena", [battle("model_a", is_code="maybe")])
    with pytest.raises(InvalidInputError, match=r"rows.jsonl, line 1, domain: expected a string"):
        read("helpsteer3", [steer(1, domain=3)])
