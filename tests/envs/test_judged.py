import orjson
import pytest
import typer
from typer.testing import CliRunner

from music.conversation import Conversation, StopReason
from music.errors import InvalidInputError
from music.judges.model import JudgeModel
from music.judges.pairwise import PairwiseJudge
from music.llm import ChatReply, ReplyOutcome
from music.prompts import read_prompt
from music.sandbox import oracle_score
from music.sandbox.server import ServerConfig, sandbox_server
from music_envs import Rollout, compare_rollouts
from music_envs.best_of_n.comparison import write_judgements
from music_envs.cli import best_of_n

APP = typer.Typer()
APP.command()(best_of_n)
SMALL = ("--num-conversations", 8, "--turns", 2, "--n", 3)


def run(*arguments):
    return CliRunner().invoke(APP, [str(argument) for argument in arguments], catch_exceptions=False)


def rollout(index, text, reason=StopReason.TURN_LIMIT):
    return Rollout(index=index, conversation=Conversation().user("Hi").assistant(text), stop_reason=reason)


class Reader:
    """Prefers `good` to anything else, and the first shown of what is not; cannot make up its mind over `odd`."""

    name = "reader"

    async def complete(self, request):
        prompt = read_prompt(request.messages)
        shown = [prompt.conversation.messages[-1].content, prompt.other.messages[-1].content]
        mark = "hm" if "odd" in shown else "[[B]]" if shown[1] == "good" else "[[A]]"
        return ChatReply(text=mark, outcome=ReplyOutcome.COMPLETE, model="reader")

    async def aclose(self):
        pass


async def test_wins_ties_and_what_is_left_out(tmp_path):
    first = ["good", "good", "bad", "fine", "same", "odd", "good"]
    second = ["bad", "fine", "good", "well", "same", "bad", "bad"]
    ours = [rollout(index, text) for index, text in enumerate(first)]
    theirs = [rollout(index, text) for index, text in enumerate(second)]
    theirs[6] = rollout(6, "bad", StopReason.ERROR)
    found, judgements = await compare_rollouts(ours, theirs, PairwiseJudge(JudgeModel(Reader())))
    assert [each and each.score for each in judgements] == [1.0, 1.0, 0.0, 0.5, 0.5, None, None]
    assert (found.win_rate.value, found.win_rate.num) == (pytest.approx(3 / 5), 5)
    assert (found.num_ties, found.num_identical, found.num_undecided, found.num_excluded) == (2, 1, 1, 1)
    figures = {figure.name: figure.estimate for figure in found.judge.figures}
    assert figures["first shown wins"].value == pytest.approx((3 + 2) / 8)
    assert figures["winner goes with the order"].value == pytest.approx(1 / 4)
    assert "win rate 0.600" in str(found)
    assert "2 of 5 tied, 1 of them identical; left out: 1 undecided, 1 failed" in str(found)
    write_judgements(tmp_path / "j.jsonl", judgements)
    rows = [orjson.loads(line) for line in (tmp_path / "j.jsonl").read_text().splitlines()]
    kept = {"index": 3, "score": 0.5, "is_identical": False, "reward_first": ["A"], "baseline_first": ["A"]}
    assert (rows[3], rows[5]["reward_first"], rows[6]) == (kept, ["unreadable"], {"index": 6, "score": None})


async def test_a_judge_that_decides_nothing_gives_no_win_rate():
    odd = [rollout(0, "odd"), rollout(1, "same", StopReason.ERROR)]
    with pytest.raises(InvalidInputError, match="at least one seed that the judge decides"):
        await compare_rollouts(odd[1:], odd[1:], PairwiseJudge(JudgeModel(Reader())))


def test_a_model_behind_a_server_compares_the_two_selectors(tmp_path):
    arms = ("--reward", "oracle", "--baseline", "random")
    with sandbox_server(ServerConfig()) as url:
        judged = ("--judge", f"judge:m@{url}", "--judge-prompt", "rubric", "--out", tmp_path)
        report = orjson.loads(run(*arms, *SMALL, *judged, "--json").stdout)
        text = run(*arms, *SMALL, *judged).stdout
    conversations = {
        arm: [
            Conversation.from_messages(orjson.loads(line)["messages"])
            for line in (tmp_path / f"{arm}.jsonl").read_text().splitlines()
        ]
        for arm in ("reward", "baseline")
    }
    grades = zip(*(oracle_score(each) for each in conversations.values()), strict=True)
    points = [1.0 if one > other else 0.5 if one == other else 0.0 for one, other in grades]
    assert report["comparison"]["win_rate"]["value"] == pytest.approx(sum(points) / 8)
    rows = [orjson.loads(line) for line in (tmp_path / "judgements.jsonl").read_text().splitlines()]
    assert [row["score"] for row in rows] == points
    assert report["comparison"]["judge"]["prompt"] == "rubric"
    assert [arm["grade"] for arm in report["arms"]] == [None, None]
    assert "oracle against random: win rate" in text
    assert "first shown wins" in text


def test_a_judge_who_compares_needs_a_baseline():
    with pytest.raises(InvalidInputError, match="expected --baseline too"):
        run("--reward", "oracle", "--judge", "judge:sandbox", *SMALL)


def test_flags_of_a_judge_are_refused_where_a_reward_grades():
    with pytest.raises(InvalidInputError, match="--judge-samples: expected a judge"):
        run("--reward", "oracle", "--judge", "length", "--judge-samples", 3, *SMALL)
