import math

import pytest

from music.errors import InvalidInputError


def row(id_, kind="Multi_Turn", edges=((0, 1), (0, 2), (1, 2)), **changes):
    messages = [{"role": "user", "content": f"Do {id_}."}]
    if kind == "Multi_Turn":
        messages += [{"role": "assistant", "content": "Done."}, {"role": "user", "content": "Again."}]
    return {
        "id": id_,
        "instruction_type": kind,
        "messages": messages,
        "responses": [{"response_id": n, "response": f"Reply {n}", "labels": [1, 0]} for n in range(3)],
        "preference_graph": [{"chosen": {"response_id": a}, "rejected": {"response_id": b}} for a, b in edges],
    } | changes


def test_edges_are_ranked_by_the_scores_and_types_weigh_the_same(read, figures):
    items = read("if_rewardbench", [row(1), row(2), row(3, "Single_Turn", edges=[(2, 0)])])
    found = figures(items, {"1": (3.0, 2.0, 1.0), "2": (3.0, 3.0, 4.0), "3": (0.0, 9.0, 1.0)})
    # Row 1: all 3 edges are right. Row 2: one is tied, two are wrong. Row 3: right.
    multi, single = (1 + 0) / 2, 1.0
    assert found["overall", "accuracy, mean of 2 of 3 types"].estimate.value == pytest.approx((multi + single) / 2)
    assert found["accuracy", "multi-turn"].estimate.value == pytest.approx(multi)
    tau = (1 - 2 / math.sqrt(2 * 3)) / 2
    assert found["Kendall tau-b", "multi-turn"].estimate.value == pytest.approx(tau)
    assert found["accuracy", "system prompt"].note == "missing: no rows"
    assert found["accuracy by turns", "2 turns"].num_items == 2
    assert found["accuracy by turns", "1 turn"].estimate.value == 1.0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"instruction_type": "multi"}, "instruction_type: expected one of Multi_Turn, Single_Turn, System_Prompt"),
        (
            {"preference_graph": [{"chosen": {"response_id": 7}}]},
            r"preference_graph\[0\]: expected .* ids of responses",
        ),
        ({"preference_graph": []}, "preference_graph: expected a list"),
        ({"responses": "none"}, "responses: expected a list of {response_id, response}"),
    ],
)
def test_a_bad_row_is_named(read, changes, said):
    with pytest.raises(InvalidInputError, match=rf"rows.jsonl, line 1, {said}"):
        read("if_rewardbench", [row(1, **changes)])
