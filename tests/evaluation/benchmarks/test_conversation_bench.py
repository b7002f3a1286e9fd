import pytest

from music.evaluation.benchmarks import conversation_bench


def talk(text, turns):
    return [
        message
        for turn in range(turns)
        for message in ({"role": "user", "content": f"{turn}?"}, {"role": "assistant", "content": f"{text} {turn}"})
    ]


def battle(n, winner="model_a", turns=2, **changes):
    return {
        "id": n,
        "winner": winner,
        "conversation_a": talk(f"a{n}", turns),
        "conversation_b": talk(f"b{n}", turns),
    } | changes


def vote(n, turn=2, judge="expert_1"):
    names = {"model_a": "m", "model_b": "n"}
    return battle(n, turns=2, turn=turn, judge=judge, question_id=n) | names


def steer(n, turns):
    context = [*talk(f"c{n}", turns - 1), {"role": "user", "content": "Last?"}]
    return {"context": context, "response1": "One.", "response2": "Two.", "overall_preference": -1}


def transcript(n, turns=2):
    start = "".join(f"\n\nHuman: Hi {n}?\n\nAssistant: Yes." for _ in range(turns - 1))
    return {side: f"{start}\n\nHuman: And?\n\nAssistant: {side}." for side in ("chosen", "rejected")}


@pytest.fixture
def items(read):
    return read(
        "conversation_bench",
        votes=[vote(1), vote(2), vote(3, turn=1), vote(4, judge=["gpt-4", "pair-v2"])],
        arena=[battle(5), battle(6, turns=3), battle(7, turns=1), battle(8, winner="tie")],
        steer=[steer(9, 3), steer(10, 1)],
        hh=[transcript(11), transcript(12), transcript(13, turns=1)],
    )


def test_rows_are_read_by_their_columns_and_single_turns_left_out(items):
    assert [(item.id, item.completions[0].num_turns) for item in items.items] == [
        ("MT-Bench/votes-1", 2),
        ("MT-Bench/votes-2", 2),
        ("LMArena/5", 2),
        ("LMArena/6", 3),
        ("HelpSteer3/steer-1", 3),
        ("hh/hh-1", 2),
        ("hh/hh-2", 2),
    ]
    assert [row.reason for row in items.rejected] == [
        "MT-Bench: a single turn",
        "MT-Bench: the vote of a model",
        "LMArena: a single turn",
        "LMArena: a tie",
        "HelpSteer3: a single turn",
        "hh: a single turn",
    ]


def test_slices_weigh_the_same_overall_and_for_each_number_of_turns(items, figures, monkeypatch):
    monkeypatch.setattr(conversation_bench, "MIN_PAIRS", 1)
    wrong = {"MT-Bench/votes-2", "LMArena/6"}
    found = figures(items, {item.id: (0.0, 1.0) if item.id in wrong else (1.0, 0.0) for item in items.items})
    slices = {name: found["slices", name].estimate.value for name in ("MT-Bench", "LMArena", "HelpSteer3", "hh")}
    assert slices == {"MT-Bench": 0.5, "LMArena": 0.5, "HelpSteer3": 1.0, "hh": 1.0}
    assert found["overall", "mean of slices"].estimate.value == pytest.approx(0.75)
    two, three = found["turns", "2 turns"], found["turns", "3 turns"]
    assert (two.estimate.value, two.num_items) == (pytest.approx((0.5 + 1 + 1) / 3), 5)
    assert two.note.startswith("unweighted mean of MT-Bench, LMArena, hh")
    assert three.estimate.value == 0.5
    assert found["LMArena, turns", "3 turns"].estimate.value == 0.0


def test_slices_with_few_pairs_of_a_number_of_turns_do_not_dominate_its_mean(items, figures, monkeypatch):
    scores = {item.id: (0.0, 1.0) if item.id == "LMArena/5" else (1.0, 0.0) for item in items.items}
    two = figures(items, scores)["turns", "2 turns"]
    assert (two.estimate.value, two.note.partition(",")[0]) == (4 / 5, "pairs of MT-Bench")
    monkeypatch.setattr(conversation_bench, "MIN_PAIRS", 2)
    two = figures(items, scores)["turns", "2 turns"]
    assert (two.estimate.value, two.num_items) == (1.0, 4)
    assert two.note.startswith("unweighted mean of MT-Bench, hh")


def test_a_single_slice_is_the_whole(read, figures):
    items = read("conversation_bench", hh=[transcript(1), transcript(2)])
    found = figures(items, {item.id: (1.0, 0.0) for item in items.items})
    assert (found["overall", "overall"].estimate.value, found["overall", "overall"].note) == (1.0, "hh")
