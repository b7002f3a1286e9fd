import orjson
import pytest

from music.conversation import Conversation, StopReason
from music.errors import InvalidInputError
from music.judges.model import JudgeModel
from music.judges.pairwise import PairwiseJudge
from music.llm import ChatReply, ReplyOutcome
from music.pairs import Usage
from music.prompts import read_prompt
from music_envs import (
    Decision,
    Rollout,
    compare_grades,
    compare_rollouts,
    grade_rollouts,
    mean_grade,
    write_rollouts,
)
from music_envs.best_of_n.comparison import write_judgements

ASKED = Conversation().user("Which tea?")


def rollout(index, reply, reason=StopReason.TURN_LIMIT, **fields):
    return Rollout(index=index, conversation=ASKED.assistant(reply), stop_reason=reason, **fields)


def by_length(conversations):
    return [float(len(c.messages[-1].content)) for c in conversations]


def test_failed_conversations_are_not_judged_but_keep_their_place():
    rollouts = [rollout(0, "ab"), rollout(1, "abc").failed("down"), rollout(2, "abcd")]
    assert grade_rollouts(rollouts, by_length) == [2.0, None, 4.0]


def test_a_comparison_is_paired_and_counts_ties_half():
    comparison = compare_grades([1.0, 3.0, None, 2.0, 2.0], [1.0, 2.0, 5.0, None, 1.0])
    assert comparison.difference.value == pytest.approx(2 / 3)
    assert comparison.win_rate.value == pytest.approx((0.5 + 1 + 1) / 3)
    assert (comparison.num_ties, comparison.num_excluded, comparison.difference.num) == (1, 2, 3)


def test_what_is_noise_is_called_noise():
    assert "within noise" in str(compare_grades([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]))
    assert "beyond noise" in str(compare_grades([2.0, 3.0, 4.0] * 9, [1.0, 2.0, 3.1] * 9))


def test_nothing_to_compare_is_an_error():
    with pytest.raises(InvalidInputError, match="none"):
        compare_grades([None, 1.0], [1.0, None])
    with pytest.raises(InvalidInputError, match="2 and 1"):
        compare_grades([1.0, 2.0], [1.0])
    with pytest.raises(InvalidInputError, match="none"):
        mean_grade([None])


def test_rows_hold_every_candidate_and_what_they_share_once(tmp_path):
    replies = ("Green.", "Green.", "Black, with milk.")
    decision = Decision(tuple(ASKED.assistant(reply) for reply in replies), (0.1, 0.1, 0.9), 2)
    path = tmp_path / "rollouts.jsonl"

    write_rollouts(path, [rollout(0, replies[2], decisions=(decision,), usage=Usage(3, 20, 7))], [0.7])

    (row,) = map(orjson.loads, path.read_text().splitlines())
    assert row["messages"] == ASKED.assistant("Black, with milk.").to_messages()
    assert (row["grade"], row["stop_reason"], row["error"]) == (0.7, "turn_limit", "")
    assert row["usage"] == {"num_calls": 3, "prompt_tokens": 20, "completion_tokens": 7}
    (written,) = row["decisions"]
    assert [tail[0]["content"] for tail in written["candidates"]] == list(replies)
    assert (written["num_messages"], written["scores"], written["chosen"]) == (1, [0.1, 0.1, 0.9], 2)


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
