"""TRL in two processes (`trl_processes.py`): replies reach the conversations they belong to, and groups span both."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "trl_processes.py"
CASES = {
    "blank on rank 0": {"a two": 1},
    "blank on rank 1": {"b one": 1},
    "blanks at later turns": {"a three": 2, "b two": 1, "b three": 3},
    "rank 0 ends first": {"a one": 1, "a two": 1, "a three": 2},
    "rank 1 ends first": {"b one": 1, "b two": 1, "b three": 1},
}
"""The turn at which the policy says nothing to a prompt."""
PROMPTS = ["a one", "a two", "a three", "b one", "b two", "b three"]
# Returns at the first turn 3 1 4 - 5 3 3 2, mean 3; at the second 2, 4, 3, mean 3. The squares of the differences
# add up to 12, of 10 turns. A completion's share of the loss is minus the mean over its tokens.
SCALE = (12 / 10) ** 0.5
LOSSES = [[1 / 3, 2.0, -1.0, 0.0], [-2.0, 0.0, 0.0, 1.0]]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each of two processes saw."""
    folder = tmp_path_factory.mktemp("processes")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", SCRIPT, folder]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(launch, env=environment, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"{rank}.json").read_text(encoding="utf-8")) for rank in (0, 1)]


@pytest.mark.parametrize("mode", ["server", "colocate"])
@pytest.mark.parametrize("case", CASES)
def test_every_reply_belongs_to_its_own_conversation_whoever_falls_silent(ranks, mode, case):
    of_ranks = [rank["rollouts"][mode][case] for rank in ranks]
    conversations = [messages for outcome in of_ranks for messages in outcome["conversations"]]
    rewards = [reward for outcome in of_ranks for reward in outcome["rewards"]]
    for prompt, messages, reward in zip(PROMPTS, conversations, rewards, strict=True):
        said = [message["content"] for message in messages]
        assert said[0] == prompt
        assert said[1::2] == [f"to {message}" for message in said[: len(said) // 2 * 2 : 2]]
        num_turns = CASES[case].get(prompt)
        assert len(said) == (6 if num_turns is None else 2 * num_turns - 1)
        assert reward is None if num_turns else reward == sum(map(len, said[1::2]))


@pytest.mark.parametrize("mode", ["server", "colocate"])
@pytest.mark.parametrize("case", CASES)
def test_all_processes_generate_equally_often_and_equally_many_replies(ranks, mode, case):
    first, second = (rank["rollouts"][mode][case]["num_prompts"] for rank in ranks)
    assert first == second
    silent = CASES[case]
    alive = [[p for p in PROMPTS if p[0] == side and silent.get(p, 3) >= turn] for turn in (1, 2, 3) for side in "ab"]
    most = [max(len(a), len(b)) for a, b in zip(alive[::2], alive[1::2], strict=True)]
    assert first == most  # no more than needed


def test_the_policys_tokens_alone_have_the_log_probabilities_that_they_were_sampled_with(ranks):
    for rank in ranks:
        outcome = rank["rollouts"]["server"]["blanks at later turns"]
        for logprobs, mask in zip(outcome["logprobs"], outcome["env_mask"], strict=True):
            assert logprobs == [-0.5 * policy for policy in mask]


def test_a_group_in_two_processes_has_one_baseline_for_each_turn(ranks):
    for rank, expected in zip(ranks, LOSSES, strict=True):
        assert sorted(rank["losses"]) == pytest.approx([loss / SCALE for loss in sorted(expected)], abs=1e-6)


@pytest.mark.filterwarnings("ignore:You are using 'rollout_func'")
def test_a_group_in_one_process_gives_the_same_losses(tmp_path):
    losses = runpy.run_path(str(SCRIPT))["credit"](tmp_path)
    assert sorted(losses) == pytest.approx([loss / SCALE for loss in sorted(LOSSES[0] + LOSSES[1])], abs=1e-6)
