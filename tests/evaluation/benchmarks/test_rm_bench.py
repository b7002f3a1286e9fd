import pytest
from hypothesis import given
from hypothesis import strategies as st

from music.errors import InvalidInputError
from music.evaluation.benchmarks.registry import load_benchmark
from music.evaluation.benchmarks.types import Item


def row(id_, **extra):
    sides = {side: [f"{side} in style {n}" for n in range(3)] for side in ("chosen", "rejected")}
    return {"id": id_, "prompt": f"Question {id_}?", **sides, **extra}


# chosen 3, 1, 4; rejected 2, 2, 5. A[i][j] = chosen_i > rejected_j:
#   3 > 2, 3 > 2, 3 > 5 -> 1 1 0
#   1 > 2, 1 > 2, 1 > 5 -> 0 0 0
#   4 > 2, 4 > 2, 4 > 5 -> 1 1 0
# hard (above) = (1 + 0 + 0) / 3, normal = (1 + 0 + 0) / 3, easy (below) = (0 + 1 + 1) / 3, mean 4 / 9.
MIXED = (3.0, 1.0, 4.0, 2.0, 2.0, 5.0)
WON, LOST = (1.0, 1.0, 1.0, 0.0, 0.0, 0.0), (0.0,) * 3 + (1.0,) * 3


def test_difficulties_domains_and_overall_by_hand(read, values):
    files = {"chat_filtered": [row(1), row(2)], "code_filtered": [row(1)], "math_filtered": [row(1)]}
    items = read("rm_bench", **files, safety__refuse_filtered=[row(1), row(2)], safety__response=[row(3)])
    scores = {
        "chat/1": MIXED,
        "chat/2": WON,
        "code/1": MIXED,
        "math/1": LOST,
        "safety-refuse/1": WON,
        "safety-refuse/2": WON,
        "safety-response/3": LOST,
    }

    found = values(items, scores)

    # chat: mean of 4/9 and 1; safety pools three rows of two files: 2/3.
    assert found["domains", "chat"] == pytest.approx((4 / 9 + 1) / 2)
    assert found["domains", "code"] == pytest.approx(4 / 9)
    assert found["domains", "math"] == 0
    assert found["domains", "safety"] == pytest.approx(2 / 3)
    assert found["overall", "overall"] == pytest.approx(((4 / 9 + 1) / 2 + 4 / 9 + 0 + 2 / 3) / 4)
    assert found["domains by difficulty", "code easy"] == pytest.approx(2 / 3)
    assert found["difficulty", "easy"] == pytest.approx(((2 / 3 + 1) / 2 + 2 / 3 + 0 + 2 / 3) / 4)
    assert found["difficulty", "hard"] == pytest.approx(((1 / 3 + 1) / 2 + 1 / 3 + 0 + 2 / 3) / 4)
    assert found["style bias", "easy minus hard"] == pytest.approx((1 / 6 + 1 / 3) / 4)
    levels = [found["difficulty", level] for level in ("easy", "normal", "hard")]
    assert found["overall", "overall"] == pytest.approx(sum(levels) / 3)


def test_a_missing_domain_is_in_the_name_of_the_overall_score(read, figures):
    items = read("rm_bench", chat_filtered=[row(1)], safety__refuse_filtered=[row(1)])

    found = figures(items, {"chat/1": MIXED, "safety-refuse/1": WON})

    overall = found["overall", "overall without code, math, safety-response"]
    assert overall.estimate.value == pytest.approx((4 / 9 + 1) / 2)
    assert ("overall", "overall") not in found
    assert found["domains", "math"].estimate is None
    assert found["domains", "safety"].note == "missing: no rows of safety-response"


def test_the_file_of_all_domains_names_them_in_each_row(read, values):
    items = read("rm_bench", total_dataset=[row(1, domain="chat"), row(1, domain="safety-response")])
    found = values(items, {"chat/1": WON, "safety-response/1": LOST})
    assert (found["domains", "chat"], found["domains", "safety"]) == (1.0, 0.0)


def test_a_problem_in_several_languages_is_one_prompt(read, figures):
    rows = [row(n, task_id=f"{language}/{n % 4}") for n, language in enumerate(["CPP"] * 4 + ["Go"] * 4)]
    found = figures(read("rm_bench", code_filtered=rows), {f"code/{n}": WON if n % 2 else MIXED for n in range(8)})
    assert found["domains", "code"].estimate.num == 4
    assert found["domains", "code"].num_items == 8


@given(st.lists(st.lists(st.integers(0, 3).map(float), min_size=6, max_size=6), min_size=1, max_size=5))
def test_any_scores_give_what_the_published_loop_gives(drawn):
    items = [
        Item(
            id=str(n),
            subset="chat",
            completions=(None,) * 6,
            labels=(1.0,) * 6,
            prompt_id=str(n),
            tags={"file": "chat"},
        )
        for n in range(len(drawn))
    ]
    matrix = [[sum(own[i] > own[3 + j] for own in drawn) / len(drawn) for j in range(3)] for i in range(3)]
    hard = (matrix[0][1] + matrix[0][2] + matrix[1][2]) / 3
    easy = (matrix[1][0] + matrix[2][0] + matrix[2][1]) / 3
    normal = (matrix[0][0] + matrix[1][1] + matrix[2][2]) / 3

    figures = load_benchmark("rm_bench").figures(items, {str(n): own for n, own in enumerate(drawn)})

    found = {figure.name: figure.estimate.value for figure in figures if figure.estimate}
    expected = {"chat hard": hard, "chat normal": normal, "chat easy": easy, "chat": (hard + normal + easy) / 3}
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_constant_scores_win_nothing_and_are_told(read, figures):
    found = figures(read("rm_bench", chat_filtered=[row(1), row(2)]), {"chat/1": (1.0,) * 6, "chat/2": (2.0,) * 6})
    assert found["domains", "chat"].estimate.value == 0.0
    assert "the scores of each item are all the same" in found["domains", "chat"].note


@pytest.mark.parametrize(
    ("stem", "change", "said"),
    [
        ("bench", {}, "domain: expected one of chat, code, math, .*file's name, got 'bench'"),
        ("bench", {"domain": "poetry"}, "domain: expected one of chat, .*, got 'poetry'"),
        ("chat", {"chosen": ["a", "b"]}, "chosen: expected three texts: concise, detailed, with markdown, got 2"),
        ("chat", {"prompt": None}, "prompt: expected a value, got null"),
    ],
)
def test_a_bad_row_is_named(read, stem, change, said):
    with pytest.raises(InvalidInputError, match=rf"{stem}.jsonl, line 1, {said}"):
        read("rm_bench", **{stem: [row(1, **change)]})
