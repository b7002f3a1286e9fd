import dataclasses

import pytest

from music.errors import InvalidInputError
from music.evaluation.benchmarks.registry import load_benchmark
from music.evaluation.benchmarks.types import RejectedItem
from music.evaluation.report import account
from music.evaluation.result import EvaluationResult, evaluate
from music.evaluation.scoring import ItemScores, ScoredModel, UnscoredError, score_items

PREFERENCES = load_benchmark("preferences")


def without_score(scores, id):
    """Return the scores, of which one completion has none."""
    row = ItemScores(id=id, scores=(1.0, None), problem="over_long")
    return dataclasses.replace(scores, rows={**scores.rows, id: row})


def test_figures_and_the_record(make_pairs, score_right):
    items = make_pairs(8)
    result = evaluate(PREFERENCES, items, score_right(items, range(6)), files=["pairs.jsonl"])
    assert result.figures[0].estimate.value == 6 / 8
    assert (result.num_items, result.num_completions, result.num_truncated) == (8, 16, 0)
    assert (result.benchmark, result.model, result.files) == ("preferences", "model", ("pairs.jsonl",))
    assert EvaluationResult.model_validate_json(result.model_dump_json()).model_dump() == result.model_dump()


def test_what_is_left_out_is_told_by_reason(make_pairs, score_right):
    items = make_pairs(8)
    rejected = (RejectedItem("a.jsonl", "line 3", "a tie among humans"),) * 2
    items = dataclasses.replace(items, rejected=(*rejected, RejectedItem("b.jsonl", "line 1", "no_reply", "x: got 1")))
    scores = without_score(score_right(items, range(6)), "7")
    with pytest.raises(UnscoredError, match=r"completion of 1 \(over_long 1\): 7"):
        evaluate(PREFERENCES, items, scores)
    result = evaluate(PREFERENCES, items, scores, strict=False)
    assert [tuple(exclusion.model_dump().values()) for exclusion in result.exclusions] == [
        ("reading", "a tie among humans", 2, "a.jsonl, line 3"),
        ("reading", "no_reply", 1, "b.jsonl, line 1: x: got 1"),
        ("scoring", "over_long", 1, "7"),
    ]
    assert result.num_items == 7
    assert result.figures[0].estimate.value == 6 / 7


def test_a_judge_gains_nothing_by_a_missing_judgement(make_pairs, score_right):
    items = make_pairs(4)
    scores = score_right(items, [0, 1], name="judge-pairs:m@http://x")
    lacking = {
        "1": ItemScores(id="1", scores=(None, None), problem="cut", partial=(1.0, 0.0)),
        "2": ItemScores(id="2", scores=(None, None), problem="cut", partial=(0.0, 1.0)),
    }
    scores = dataclasses.replace(scores, rows={**scores.rows, **lacking})
    result = evaluate(PREFERENCES, items, scores, strict=False)
    assert (result.num_items, result.figures[0].estimate.value) == (4, 1 / 4)
    assert "2 ties, counted as missed" in result.figures[0].note
    alone = result.figures[-1]
    assert (alone.table, alone.num_items, alone.estimate.value) == ("missing judgements", 4, 2 / 4)
    assert "counted as ties: 2 for cut (first: 1)" in [*account(result)]
    assert evaluate(PREFERENCES, items, scores, baseline=scores, strict=False).comparison.num_items == 4


def test_scores_that_tell_nothing_apart_are_refused(make_pairs):
    items = make_pairs(4)
    constant = score_items(items, ScoredModel(name="constant", reward=lambda conversations: [0.5] * len(conversations)))
    with pytest.raises(InvalidInputError, match=r"constant: expected scores that differ.*\(0.5 in the first\)"):
        evaluate(PREFERENCES, items, constant)


def test_no_item_left_is_an_error(make_pairs, score_right):
    items = make_pairs(1)
    scores = without_score(score_right(items, [0]), "0")
    with pytest.raises(InvalidInputError, match="expected items that model can score, got none"):
        evaluate(PREFERENCES, items, scores, strict=False)


def test_a_draw_keeps_prompts_whole_and_is_the_same_each_time(make_pairs):
    items = make_pairs(20)
    paired = tuple(dataclasses.replace(item, prompt_id=str(n // 2)) for n, item in enumerate(items.items))
    whole = dataclasses.replace(items, items=paired)
    drawn = whole.draw_prompts(3)
    prompts = [item.prompt_id for item in drawn.items]
    assert len(drawn.items) == 6
    assert len(set(prompts)) == 3
    assert prompts == sorted(prompts, key=int)
    assert whole.draw_prompts(3) == drawn
    assert whole.draw_prompts(99) == whole


def test_a_model_is_compared_over_the_prompts_of_both(make_pairs, score_right):
    items = make_pairs(40)
    model, baseline = score_right(items, range(30)), score_right(items, range(10, 40), "other")
    comparison = evaluate(PREFERENCES, items, model, baseline=score_right(items, range(12), "other")).comparison
    first = comparison.differences[0]
    assert (first.value, first.baseline, first.estimate.value) == (0.75, 0.3, pytest.approx(0.45))
    assert first.estimate.low > 0.2
    assert first.verdict == "higher, beyond noise"
    assert comparison.baseline == "other"
    assert f"the other {len(comparison.differences) - 1} adjusted for their number (Holm)" in comparison.note
    level = evaluate(PREFERENCES, items, model, baseline=baseline).comparison.differences[0]
    # Ten prompts each way: the same accuracy, and an interval of sqrt(20) / 40 = 0.11 times two to each side.
    assert level.estimate.value == 0
    assert level.estimate.high == pytest.approx(0.22, abs=0.04)
    assert level.verdict == "within noise"


def test_few_prompts_that_tell_two_models_apart_are_noise(make_pairs, score_right):
    items = make_pairs(40)
    baseline = score_right(items, range(20), "other")
    first = []
    for num_better in (0, 5, 7):
        model = score_right(items, range(20 + num_better))
        first.append(evaluate(PREFERENCES, items, model, baseline=baseline).comparison.differences[0])
    # The sign test: all of so many prompts favour one model with a chance of 2 * 0.5**n.
    assert [each.p_value for each in first] == [1.0, pytest.approx(0.0625, abs=0.01), pytest.approx(0.0156, abs=0.005)]
    assert [each.verdict for each in first] == ["within noise", "within noise", "higher, beyond noise"]


def test_all_figures_but_the_first_are_adjusted_for_their_number(make_pairs, score_right):
    items = make_pairs(40)
    baseline, model = score_right(items, range(20), "other"), score_right(items, range(27))
    first, *others = evaluate(PREFERENCES, items, model, baseline=baseline).comparison.differences
    assert len(others) == 3
    assert first.adjusted_p_value == first.p_value
    assert [each.adjusted_p_value for each in others] == [pytest.approx(3 * first.p_value)] * 3


def test_items_that_the_baseline_cannot_score_are_not_compared(make_pairs, score_right):
    items = make_pairs(20)
    baseline = without_score(score_right(items, range(4), "other"), "0")
    result = evaluate(PREFERENCES, items, score_right(items, range(10)), baseline=baseline, strict=False)
    assert result.num_items == 20
    assert result.comparison.num_items == 19
    assert result.comparison.differences[0].value == 9 / 19


@pytest.mark.parametrize(
    ("problem", "remedy"),
    [
        ("over_long", "raise the model's max_length"),
        ("reward_token_missing", "strip trailing newlines"),
        ("refused", ""),
    ],
)
def test_a_missing_score_names_the_remedy_for_its_reason(make_pairs, score_right, problem, remedy):
    items = make_pairs(8)
    scores = score_right(items, range(6))
    row = ItemScores(id="7", scores=(1.0, None), problem=problem)
    scores = dataclasses.replace(scores, rows={**scores.rows, "7": row})
    with pytest.raises(UnscoredError, match=rf"\({problem} 1\): 7; {remedy}.*pass --no-strict") as error:
        evaluate(PREFERENCES, items, scores)
    assert ("max_length" in str(error.value)) == (problem == "over_long")
