import orjson
import pytest

from music.conversation import Conversation, StopReason
from music.errors import InvalidInputError
from music.pairs import Usage
from music_envs import Decision, Rollout, compare_grades, grade_rollouts, mean_grade, write_rollouts

ASKED = Conversation().user("Which tea?")


def rollout(index, reply, **fields):
    return Rollout(index=index, conversation=ASKED.assistant(reply), stop_reason=StopReason.TURN_LIMIT, **fields)


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
