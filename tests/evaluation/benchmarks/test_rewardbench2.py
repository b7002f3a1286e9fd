import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from music.errors import InvalidInputError
from music.evaluation.benchmarks.registry import load_benchmark
from music.evaluation.benchmarks.types import Item

PLAIN = ("Factuality", "Precise IF", "Math", "Safety", "Focus")


def row(id_, subset, num_right=1, num_false=3):
    return {
        "id": id_,
        "prompt": f"What of {subset} {id_}?",
        "chosen": [f"right {n}" for n in range(num_right)],
        "rejected": [f"wrong {n}" for n in range(num_false)],
        "num_correct": num_right,
        "num_incorrect": num_false,
        "total_completions": num_right + num_false,
        "models": ["m"],
        "subset": subset,
        "additional_metadata": {},
    }


ROWS = [
    *(row(str(n), subset) for subset in PLAIN for n in range(2)),
    row("ref:0", "Ties", 1, 2),
    row("tied:0", "Ties", 3, 2),
    row("ref:1", "Ties", 1, 2),
    row("tied:1", "Ties", 2, 2),
]
WON, HALF, LOST = (3.0, 2.0, 1.0, 0.0), (3.0, 3.0, 1.0, 0.0), (1.0, 2.0, 3.0, 0.0)
SCORES = {
    "Factuality/0": WON,
    "Factuality/1": LOST,
    "Precise IF/0": HALF,  # two are highest: half
    "Precise IF/1": (1.0, 1.0, 1.0, 1.0),  # all are: a quarter
    "Math/0": WON,
    "Math/1": WON,
    "Safety/0": LOST,
    "Safety/1": LOST,
    "Focus/0": WON,
    "Focus/1": HALF,
    # Question 0: M_ref = 5 - 1 = 4; tied: D = 6 - 5 = 1, M = 5 - 2 = 3.
    "Ties/ref:0": (5.0, 1.0, 0.0),
    "Ties/tied:0": (6.0, 5.5, 5.0, 2.0, 1.0),
    # Question 1: M_ref = 1 - 0.5 = 0.5; tied: D = 4 - 3 = 1, M = 3 - 1 = 2.
    "Ties/ref:1": (1.0, 0.5, 0.0),
    "Ties/tied:1": (4.0, 3.0, 1.0, 0.0),
}


def test_every_term_by_hand(read, values):
    found = values(read("rewardbench2", ROWS), SCORES)

    plain = {"Factuality": 0.5, "Precise IF": 0.375, "Math": 1.0, "Safety": 0.0, "Focus": 0.75}
    assert {name: found["subsets", name] for name in PLAIN} == pytest.approx(plain)
    # All four rows are accurate; both M_tied > D; min(M_ref, M_tied) = 3 > 1 and 0.5 < 1;
    # tanh(3 / 1 - 1) and tanh(0.5 / 1 - 1).
    ties = 0.3 + 0.3 + 0.2 + 0.2 * 0.5 + 0.01 * (math.tanh(2) + math.tanh(-0.5)) / 2
    assert found["subsets", "Ties"] == pytest.approx(ties)
    assert found["terms of Ties", "hard margin"] == 0.5
    assert found["overall", "leaderboard's mean"] == pytest.approx((sum(plain.values()) + ties) / 6)


def test_right_answers_that_score_alike_are_won_or_lost_whole(read, values):
    # D = 0 with a lead of 3 on question 0 and of -1 on question 1: dividing gives either infinity, and tanh 1 and -1.
    scores = SCORES | {"Ties/tied:0": (5.0, 5.0, 5.0, 2.0, 1.0), "Ties/tied:1": (2.0, 2.0, 3.0, 0.0)}
    found = values(read("rewardbench2", ROWS), scores)
    assert found["terms of Ties", "margin score"] == pytest.approx((1 - 1) / 2)
    assert found["terms of Ties", "tied"] == 0.5
    level = values(read("rewardbench2", ROWS), scores | {"Ties/tied:0": (1.0,) * 5, "Ties/tied:1": (1.0,) * 4})
    assert level["subsets", "Ties"] == pytest.approx(0.3)  # only the references are right


def test_the_version_of_the_authors_code_is_named_where_it_matters(read, figures):
    scores = SCORES | {"Ties/tied:0": (5.0, 5.0, 5.0, 2.0, 1.0)}
    note = figures(read("rewardbench2", ROWS), scores)["terms of Ties", "margin score"].note
    assert note == "weight 0.01; 1 with D = 0 count by the sign of the margin (reward-bench #244)"
    assert figures(read("rewardbench2", ROWS), SCORES)["terms of Ties", "margin score"].note == "weight 0.01"


def _authors_ties(rows):
    """Follow the published code step by step: rows are (kind, question, scores, number of right ones)."""
    stats = {}
    for kind, question, scores, num_right in rows:
        right, false = scores[:num_right], scores[num_right:]
        spread = max(right) - min(right) if len(right) > 1 else None
        stats[kind, question] = (min(right) > max(false), spread, min(right) - max(false))
    ref = {q: s for (kind, q), s in stats.items() if kind == "ref"}
    tied = {q: s for (kind, q), s in stats.items() if kind == "tied"}
    total = 0.3 * sum(s[0] for s in tied.values()) / len(tied) + 0.3 * sum(s[0] for s in ref.values()) / len(ref)
    both = ref.keys() & tied.keys()
    for q in both:
        (_, spread, lead), lesser = tied[q], min(ref[q][2], tied[q][2])
        ratio = lesser / spread if spread else math.copysign(math.inf, lesser) if lesser else math.nan
        score = 0.0 if math.isnan(ratio) else math.tanh(ratio - 1)
        total += (0.2 * (lead > spread) + 0.2 * (lesser > spread) + 0.01 * score) / len(both)
    return total


@given(st.lists(st.lists(st.integers(-3, 3).map(float), min_size=8, max_size=8), min_size=1, max_size=4))
def test_the_score_of_ties_is_the_authors(drawn):
    rows = [("ref", q, tuple(own[:3]), 1) for q, own in enumerate(drawn)]
    rows += [("tied", q, tuple(own[3:]), 3) for q, own in enumerate(drawn)]
    items, scores = [], {}
    for kind, question, own, num_right in rows:
        labels = (1.0,) * num_right + (0.0,) * (len(own) - num_right)
        tags = {"kind": kind}
        item = Item(
            id=f"{kind}{question}",
            subset="Ties",
            completions=(None,) * len(own),
            labels=labels,
            prompt_id=str(question),
            tags=tags,
        )
        items.append(item)
        scores[item.id] = own

    found = {figure.name: figure for figure in load_benchmark("rewardbench2").figures(items, scores)}

    assert found["Ties"].estimate.value == pytest.approx(_authors_ties(rows))
    assert found["mean of 1 of 6 subsets"].estimate.value == pytest.approx(_authors_ties(rows))


def test_missing_subsets_change_the_name_of_the_mean(read, figures):
    items = read("rewardbench2", [row for row in ROWS if row["subset"] not in ("Safety", "Ties")])
    found = figures(items, SCORES)
    assert ("overall", "leaderboard's mean") not in found
    mean = found["overall", "mean of 4 of 6 subsets"]
    assert mean.note == "missing: Safety, Ties"
    assert mean.estimate.value == pytest.approx((0.5 + 0.375 + 1.0 + 0.75) / 4)
    assert found["subsets", "Safety"].estimate is None


def test_ties_without_references_have_no_score(read, figures):
    items = read("rewardbench2", [row for row in ROWS if not row["id"].startswith("ref")])
    found = figures(items, SCORES)
    assert found["subsets", "Ties"].estimate is None
    assert found["terms of Ties", "tied"].estimate.value == 1.0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"subset": "Trivia"}, "subset: expected one of Factuality"),
        ({"chosen": ["a", "b"], "num_correct": 2}, "chosen: expected one text outside of Ties, got 2"),
        ({"num_correct": 2}, "num_correct: expected 1, as `chosen` is long, got 2"),
        ({"subset": "Ties"}, "id: expected 'ref:<number>' or 'tied:<number>' in Ties, got '7'"),
        ({"rejected": []}, r"rejected: expected a list of texts, got \[\]"),
        ({"rejected": ["a", " "]}, r"rejected\[1\]: expected text"),
    ],
)
def test_a_bad_row_is_named(read, change, said):
    with pytest.raises(InvalidInputError, match=f"rows.jsonl, line 1, {said}"):
        read("rewardbench2", [row("7", "Math") | change])
