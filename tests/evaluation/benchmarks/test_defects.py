import pytest

from music.errors import InvalidInputError

TURNS = ("Hi", "Hello.", "A fruit?", "A pear.", "Another?", "An apple.")


def side(*texts):
    return [{"role": "assistant" if n % 2 else "user", "content": text} for n, text in enumerate(texts)]


def row(id_, turn, num_turns=3, kind=None):
    texts = [text if n % 2 else f"{text} {id_[0]}" for n, text in enumerate(TURNS[: 2 * num_turns])]
    worse = [*texts]
    worse[2 * turn - 1] = "No idea."
    return {"id": id_, "chosen": side(*texts), "rejected": side(*worse)} | ({"kind": kind} if kind else {})


def test_accuracy_by_turn_by_turns_that_follow_and_by_kind(read, figures):
    rows = [
        row("a1", 1, kind="topic"),
        row("b1", 1, 2, "end"),
        row("c2", 2, kind="topic"),
        row("d3", 3),
        row("e2", 2, 2),
    ]
    scores = {"a1": (1.0, 0.0), "b1": (0.0, 1.0), "c2": (0.0, 1.0), "d3": (1.0, 0.0), "e2": (1.0, 1.0)}
    found = figures(read("defects", rows), scores)
    values = {key: (figure.estimate.value, figure.num_items) for key, figure in found.items()}

    assert values["overall", "overall"] == (pytest.approx(2 / 5), 5)
    assert values["overall", "before the last turn"] == (pytest.approx(1 / 3), 3)
    assert values["overall", "in the last turn"] == (pytest.approx(1 / 2), 2)
    by_turn = {name: value for (table, name), value in values.items() if table == "turn of the defect"}
    assert by_turn == {"1": (0.5, 2), "2": (0.0, 2), "3": (1.0, 1)}
    by_rest = {name: value for (table, name), value in values.items() if table == "turns after the defect"}
    assert by_rest == {"0": (0.5, 2), "1": (0.0, 2), "2": (1.0, 1)}
    assert values["kind", "topic"] == (0.5, 2)
    assert values["topic, turns after it", "2"] == (1.0, 1)
    assert ("kind", "") not in values
    assert found["overall", "overall"].note == "1 tie, counted as missed"


def test_pairs_of_one_dialogue_are_one_unit(read, figures):
    rows = [row("a1", 1), row("a2", 2), row("a3", 3), row("b3", 3)]
    found = figures(read("defects", rows), dict.fromkeys(("a1", "a2", "a3", "b3"), (1.0, 0.0)))
    assert found["overall", "overall"].estimate.num == 2


def test_a_missing_place_is_told(read, figures):
    found = figures(read("defects", [row("a3", 3)]), {"a3": (1.0, 0.0)})
    early = found["overall", "before the last turn"]
    assert (early.estimate, early.note) == (None, "missing: no rows")


def test_late_turns_are_pooled(read, figures):
    texts = [f"text {n}" for n in range(24)]
    rows = [
        {"id": str(turn), "chosen": side(*texts), "rejected": side(*texts[: 2 * turn - 1], "bad", *texts[2 * turn :])}
        for turn in (9, 10, 12)
    ]
    found = figures(read("defects", rows), dict.fromkeys(("9", "10", "12"), (1.0, 0.0)))
    assert [name for table, name in found if table == "turn of the defect"] == ["9", "10 or more"]


def test_pairs_that_differ_otherwise_are_left_out_and_counted(read):
    shorter = row("s", 1)
    shorter["rejected"] = shorter["rejected"][:4]
    users = row("u", 1)
    users["rejected"][2]["content"] = "A tree?"
    several = row("m", 1)
    several["rejected"][3]["content"] = "A stone."
    items = read("defects", [row("a", 2), shorter, users, several])
    assert [(item.id, item.tags["turn"]) for item in items.items] == [("a", 2)]
    assert [(left.place, left.reason) for left in items.rejected] == [
        ("line 2", "the sides have different numbers of messages"),
        ("line 3", "the sides differ in what is not the assistant's"),
        ("line 4", "the sides differ in several assistant turns"),
    ]


def test_the_kind_of_a_simulated_pair_is_its_contrast(read):
    simulated = {
        "seed_id": "s",
        "num_seed_messages": 0,
        "contrasts": [{"turn": 0, "strategy": "forget", "modified_instruction": "Hi", "parameters": "{}"}],
        "models": {"assistant": "m"},
        "usage": {"num_calls": 1, "prompt_tokens": 1, "completion_tokens": 1},
        "seed": 0,
    }
    items = read("defects", [row("a", 1) | simulated, row("b", 1, kind="made") | simulated])
    assert [item.tags["kind"] for item in items.items] == ["forget", "made"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"kind": 3}, "kind: expected a string, got int"),
        ({"chosen": "Hi"}, "chosen: expected a list of messages, got str"),
        ({"rejected": side("Hi")}, "rejected: expected a last message by the assistant, got 'user'"),
        ({"rejected": row("a", 1)["chosen"]}, "rejected: expected another conversation, got the chosen one"),
    ],
)
def test_a_bad_row_is_named(read, wrong, said):
    with pytest.raises(InvalidInputError, match=f"rows.jsonl, line 2, {said}; fix it, or pass --no-strict"):
        read("defects", [row("b", 1), row("a", 1) | wrong])


def test_rows_are_read_as_all_commands_read_them(read):
    said = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
    rows = [row("a1", 1, kind="topic"), row("a1", 2), {"messages": said, "rejected_response": ["No.", "What?"]}]
    found = [(item.id, item.tags["turn"], item.tags["kind"]) for item in read("defects", rows).items]
    assert found == [("a1", 1, "topic"), ("a1#2", 2, ""), ("rows-3/1", 1, ""), ("rows-3/2", 1, "")]


def test_rows_of_another_kind_are_refused_with_the_nearest_shape(read):
    with pytest.raises(
        InvalidInputError, match=r"got columns prompt \(str\), chosen \(str\);.* nearest: ultrafeedback"
    ):
        read("defects", [{"prompt": "Hi", "chosen": "Hello."}])


def test_a_tie_is_counted_as_left_out(read):
    tied = {"prompt": "Hi", "response_1": "Hello.", "response_2": "What?", "preference_strength": 0}
    items = read("defects", [tied, tied | {"preference_strength": 2}])
    assert [item.id for item in items.items] == ["rows-2"]
    assert [(left.place, left.reason) for left in items.rejected] == [("line 1", "a tie")]
