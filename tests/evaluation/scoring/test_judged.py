import dataclasses
import os
import signal
import subprocess
import sys
import time

import orjson
import pytest
import typer
from typer.testing import CliRunner

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.evaluation.benchmarks.types import Item, ItemSet
from music.evaluation.cli import evaluate
from music.evaluation.scoring import UnscoredError, read_scores
from music.evaluation.scoring.judged import ByComparing, ByRating, judge_items
from music.judges import JudgeSettings
from music.judges.model import Judgement, Problem, open_judge_model
from music.judges.pairwise import PairJudgement, PairwiseJudge
from music.judges.pointwise import PointwiseJudge
from music.preferences import write_preferences
from music.prompts import Choice
from music.sandbox import oracle_score
from music.sandbox.server import ServerConfig, sandbox_server
from music.sandbox.world.seeds import seed_pairs

APP = typer.Typer()
APP.command()(evaluate)
MAIN = "import typer; from music.evaluation.cli import evaluate; typer.run(evaluate)"


def run(*arguments):
    return CliRunner().invoke(APP, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def triples():
    """Three continuations of each of some sandbox prompts."""
    pairs = [pair for pair in seed_pairs(60, 1) if len(pair.chosen.messages) == 2]
    prompt = pairs[0].chosen.prefix(1)
    replies = [pair.chosen.messages[-1].content for pair in pairs]
    items = [
        Item(
            id=str(n),
            subset="a",
            completions=tuple(prompt.assistant(replies[n + k]) for k in range(3)),
            labels=(1.0, 0.0, 0.0),
            prompt_id=str(n),
        )
        for n in range(0, 24, 3)
    ]
    return ItemSet("fruit", tuple(items))


@pytest.fixture
def pairs_file(tmp_path):
    path = tmp_path / "pairs.jsonl"
    write_preferences(seed_pairs(40, 2), path)
    return path


async def test_comparing_scores_a_completion_by_its_share_of_wins(triples, tmp_path):
    async with open_judge_model("sandbox") as model:
        judge = ByComparing(PairwiseJudge(model))
        scores = await judge_items(triples, "judge-pairs:sandbox", judge, tmp_path / "scores.jsonl")
    for item in triples.items:
        grades = oracle_score(item.completions)
        wins = [sum((one > other) + (one == other) / 2 for other in grades) - 0.5 for one in grades]
        assert scores.rows[item.id].scores == pytest.approx([won / 2 for won in wins])
    assert judge.num_calls(triples.items[0]) == 6
    assert read_scores(tmp_path / "scores.jsonl", triples).rows == scores.rows
    found = {figure.name: figure for figure in scores.judge.figures}
    assert found["cyclic triples"].estimate.value == 0


async def test_rating_scores_each_completion(triples):
    async with open_judge_model("sandbox") as model:
        scores = await judge_items(triples, "judge:sandbox", ByRating(PointwiseJudge(model)))
    for item in triples.items:
        assert scores.rows[item.id].scores == pytest.approx([1 + 8 * grade for grade in oracle_score(item.completions)])
    assert scores.judge.figures[0].estimate.value == 1.0


async def test_an_item_that_cannot_be_judged_has_no_scores_and_says_why(judges):
    fruits = {str(n): (f"Question {n}?", "right") for n in range(3)} | {"pear": ("Question 0?", "right pear")}
    items = []
    for id, (question, right) in fruits.items():
        prompt = Conversation().user(question)
        pair = (prompt.assistant(right), prompt.assistant("wrong"))
        items.append(Item(id=id, subset="a", completions=pair, labels=(1.0, 0.0), prompt_id=id))
    async with open_judge_model(f"mumbles-about-pears@{judges}") as model:
        judge = ByComparing(PairwiseJudge(model))
        with pytest.raises(UnscoredError, match=r"completion of 1 \(unreadable 1\): pear .*counted as ties"):
            await judge_items(ItemSet("fruit", tuple(items)), "judge-pairs:m", judge)
        scores = await judge_items(ItemSet("fruit", tuple(items)), "judge-pairs:m", judge, strict=False)
    assert [row.scores for row in scores.rows.values()] == [(1.0, 0.0)] * 3 + [(None, None)]
    assert (scores.rows["pear"].problem, scores.rows["pear"].partial) == ("unreadable", (0.5, 0.5))


async def test_a_strict_run_stops_at_the_first_missing_judgement(stats):
    question = Conversation().user("Which fruit?")
    pairs = [(question.assistant(f"Apple {n}."), question.assistant("Pear.")) for n in range(30)]
    items = tuple(Item(id=str(n), subset="", completions=pairs[n], labels=(1.0, 0.0), prompt_id="") for n in range(30))
    with sandbox_server(ServerConfig()) as url:
        settings = JudgeSettings(max_in_flight=1)
        async with open_judge_model(f"good@{url}", settings) as model:
            judge = FailsOnce(PairwiseJudge(model))
            with pytest.raises(UnscoredError, match=r"\(cut 1\): 3"):
                await judge_items(ItemSet("fruit", items), "judge-pairs:m", judge)
        assert stats(url)["requests"] <= 2 * 4


@dataclasses.dataclass(frozen=True)
class FailsOnce(ByComparing):
    """Lacks an order of item 3."""

    def row(self, item, answer):
        if item.id == "3":
            found = next(iter(answer.values()))
            answer = {(0, 1): dataclasses.replace(found, backward=(Judgement(None, Problem.CUT),))}
        return super().row(item, answer)


@pytest.mark.parametrize(
    ("forward", "backward", "scores", "partial"),
    [
        (Choice.FIRST, Choice.SECOND, (1.0, 0.0), ()),
        (Choice.FIRST, None, (None, None), (1.0, 0.0)),
        (None, Choice.FIRST, (None, None), (0.0, 1.0)),
        (Choice.TIE, None, (None, None), (0.5, 0.5)),
        (None, None, (None, None), (0.5, 0.5)),
    ],
)
def test_a_missing_order_leaves_no_score_but_what_the_other_says(forward, backward, scores, partial):
    question = Conversation().user("Which fruit?")
    pair = (question.assistant("Apple."), question.assistant("Pear."))
    item = Item(id="a", subset="", completions=pair, labels=(1.0, 0.0), prompt_id="")
    orders = [(Judgement(each, None if each else Problem.CUT),) for each in (forward, backward)]
    row = ByComparing.row(None, item, {(0, 1): PairJudgement(*orders)})
    assert (row.scores, row.partial) == (scores, partial)


def test_a_judge_is_a_model_of_the_command(pairs_file, tmp_path):
    out = tmp_path / "out"
    models = ("--model", "judge-pairs:sandbox", "--baseline", "judge:sandbox", "--out", out)
    result = orjson.loads(run("preferences", pairs_file, *models, "--json").stdout)
    by_oracle = orjson.loads(run("preferences", pairs_file, "--model", "oracle", "--json").stdout)
    assert result["figures"][0]["estimate"]["value"] == by_oracle["figures"][0]["estimate"]["value"]
    assert result["judge"]["num_judgements"] == 80
    assert result["comparison"]["num_items"] == 40
    text = run("preferences", pairs_file, *models).stdout
    assert "judge sandbox:good, prompt overall: 80 judgements, failed: none" in text
    with pytest.raises(
        InvalidInputError, match=r"another model: judge-pairs:sandbox .*not judge-pairs:sandbox --judge-prompt rubric"
    ):
        run("preferences", pairs_file, *models, "--judge-prompt", "rubric")
    kept = run("preferences", pairs_file, "--model", out / "scores.jsonl", "--json").stdout
    assert orjson.loads(kept)["figures"] == result["figures"]


def test_flags_of_a_judge_are_refused_without_one(pairs_file):
    with pytest.raises(InvalidInputError, match="--judge-prompt, --judge-samples: expected a judge"):
        run("preferences", pairs_file, "--model", "length", "--judge-prompt", "rubric", "--judge-samples", 2)


def test_a_killed_run_goes_on_and_asks_nothing_twice(pairs_file, tmp_path, stats):
    with sandbox_server(ServerConfig(latency="20")) as url:
        out = tmp_path / "out"
        model = ("--model", f"judge-pairs:good@{url}", "--max-in-flight", "4", "--json")
        command = [sys.executable, "-c", MAIN, "preferences", pairs_file, "--out", out, *model]
        env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while stats(url)["requests"] < 30:
                assert process.poll() is None
                time.sleep(0.005)  # another process's progress: there is no event to wait for
            process.send_signal(signal.SIGKILL)
        assert not (out / "scores.jsonl").read_text().count("\n") > 1
        result = orjson.loads(run("preferences", pairs_file, "--out", out, *model).stdout)
        assert 80 <= stats(url)["requests"] <= 80 + 4
        again = orjson.loads(run("preferences", pairs_file, "--out", out, *model).stdout)
        assert stats(url)["requests"] <= 80 + 4
    assert again | {"seconds": 0} == result | {"seconds": 0}
    assert result["judge"]["spending"]["num_calls"] == 80
