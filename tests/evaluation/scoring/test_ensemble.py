import dataclasses

import numpy as np
import pytest

from music.errors import InvalidInputError
from music.evaluation import EvaluationConfig, run_evaluation
from music.evaluation.scoring import ItemScores, ScoredModel, score_items
from music.evaluation.scoring.by_name import require_scorers
from music.evaluation.scoring.ensemble import combine, majority
from music.judges.settings import Ensemble
from music.preferences import write_preferences
from music.sandbox.world.seeds import seed_pairs


@pytest.fixture
def sets(make_items):
    """Return a maker of the scores of judges, one list of scores for each item."""
    items = make_items(2)

    def make(*judges):
        made = []
        for scores in judges:
            of_one = score_items(items, ScoredModel(name="judge:m", reward=lambda cs: [0.0] * len(cs)))
            rows = {
                item.id: ItemScores(id=item.id, scores=own)
                if own
                else ItemScores(id=item.id, scores=(None,) * 3, problem="cut")
                for item, own in zip(items.items, scores, strict=True)
            }
            made.append(dataclasses.replace(of_one, rows=rows))
        return items, made

    return make


def test_the_mean_weighs_scores_and_the_majority_counts_votes(sets):
    items, judges = sets([(9, 1, 2), (1, 2, 3)], [(4, 5, 1), (1, 2, 3)], [(4, 5, 6), (1, 2, 3)])
    mean = combine("mean:x", Ensemble("mean", ("a", "b", "c")), items, judges)
    assert mean.rows["fruit/0"].scores == pytest.approx((17 / 3, 11 / 3, 3))
    votes = combine("majority:x", Ensemble("majority", ("a", "b", "c")), items, judges)
    # 1 beats 0 by two judges to one; 0 beats 2 by two to one; 2 beats 1 by two to one: a cycle.
    assert votes.rows["fruit/0"].scores == (0.5, 0.5, 0.5)
    assert votes.rows["fruit/1"].scores == (0.0, 0.5, 1.0)


def test_majority_of_two_that_disagree_is_a_tie():
    assert majority(np.array([[1.0, 0.0], [0.0, 9.0]])).tolist() == [0.5, 0.5]


def test_a_judge_without_an_answer_abstains_and_none_is_no_score(sets):
    items, judges = sets([(3, 1, 2), None], [None, None])
    found = combine("majority:x", Ensemble("majority", ("a", "b")), items, judges)
    assert found.rows["fruit/0"].scores == (1.0, 0.0, 0.5)
    assert found.rows["fruit/1"].problem == "cut"
    assert found.header.description == "judge:m (1 missing); judge:m (2 missing)"


def test_an_ensemble_is_a_model_of_the_command(tmp_path):
    write_preferences(seed_pairs(12, 2), tmp_path / "pairs.jsonl")
    name = "mean:judge-pairs:sandbox+judge-pairs:sandbox:good"
    files = (str(tmp_path / "pairs.jsonl"),)
    config = EvaluationConfig(benchmark="preferences", files=files, model=name, out=tmp_path / "out")
    result = run_evaluation(config)
    alone = run_evaluation(config.model_copy(update={"model": "judge-pairs:sandbox", "out": None}))
    assert result.figures[0].estimate == alone.figures[0].estimate
    assert {path.name for path in config.out.glob("scores*.jsonl")} == {
        "scores.jsonl",
        "scores-1.jsonl",
        "scores-2.jsonl",
    }
    kept = config.model_copy(update={"model": str(config.out / "scores.jsonl"), "out": None})
    assert run_evaluation(kept).figures[0].estimate == alone.figures[0].estimate


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mean:judge:a@http://h", "expected mean:JUDGE.JUDGE with at least two different judges"),
        (
            "majority:judge:a@http://h+judge:a@http://h",
            "expected majority:JUDGE.JUDGE with at least two different judges",
        ),
        ("mean:judge:a@http://h+length", "at least two different judges"),
        ("mean:judge:a@http://h+judge-pairs:b@http://h", "expected judges that all rate .* use majority: instead"),
    ],
)
def test_what_is_no_ensemble_is_refused_at_once(name, said):
    with pytest.raises(InvalidInputError, match=said):
        require_scorers(name)
