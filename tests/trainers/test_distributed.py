"""Two real processes on the CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from music.preferences import write_preferences
from music.reward.packing import TokenSequence, plan_rows
from music_trainers import RewardTrainingConfig, train_reward_model
from music_trainers.distributed import deal_rows, plan_shared_rows


def groups(*sizes):
    return [[TokenSequence.read_at_end(list(range(i, i + size)))] for i, size in enumerate(sizes)]


def test_every_row_counts_once_and_all_processes_take_as_many():
    rows = plan_rows(groups(90, 80, 70, 60, 50), 100).rows
    dealt = [deal_rows(rows, 2, process) for process in range(2)]
    assert [len(share) for share in dealt] == [3, 3]
    counted = [each.row for share in dealt for each in share if each.counts]
    assert sorted(map(id, counted)) == sorted(map(id, rows))
    assert [each.counts for each in dealt[1]] == [True, True, False]


def test_rows_are_planned_for_the_processes_where_that_is_possible():
    assert len(plan_rows(groups(*[10] * 30), 100).rows) == 3
    plan = plan_shared_rows(groups(*[10] * 30), 100, 2)
    assert len(plan.rows) == 4
    assert max(row.num_tokens for row in plan.rows) <= 100


@pytest.fixture(scope="module")
def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1"}


TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def train(launcher, environment, pairs, base, out):
    settings = ("--batch-size", "7", "--learning-rate", "3e-3", "--micro-batch-tokens", "150", "--max-steps", "6")
    settings += ("--evaluate-every", "2", "--eval-fraction", "0.2", "--checkpoint-every", "4", "--device", "cpu")
    command = [*launcher, str(Path(sys.executable).parent / "music"), "train", str(pairs), "--base", str(base)]
    done = subprocess.run([*command, "--out", str(out), *settings], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads((out / "training.json").read_text()), done


def test_two_processes_train_the_model_that_one_trains(language_checkpoint, make_pairs, tmp_path, environment):
    write_preferences(make_pairs(40), tmp_path / "pairs.jsonl")
    base = language_checkpoint()
    one, _ = train([sys.executable], environment, tmp_path / "pairs.jsonl", base, tmp_path / "one")
    two, done = train(TORCHRUN, environment, tmp_path / "pairs.jsonl", base, tmp_path / "two")
    assert two["description"].endswith("2 processes"), "a launcher that starts one process would prove nothing"
    assert done.stderr.count("training pairs:") == 1
    assert done.stdout.count("saved to") == 1
    assert two["losses"] == pytest.approx(one["losses"], abs=1e-5)
    assert two["after"]["nll"] == pytest.approx(one["after"]["nll"], abs=1e-5)
    left, right = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert all(torch.allclose(left[name], right[name], atol=1e-4) for name in left)


def test_a_sharded_model_trains_and_resumes_as_a_whole_one(language_checkpoint, make_pairs, tmp_path, environment):
    pairs = make_pairs(40)
    write_preferences(pairs, tmp_path / "pairs.jsonl")
    settings = {"base": str(language_checkpoint()), "batch_size": 7, "learning_rate": 3e-3, "micro_batch_tokens": 150}
    settings |= {"max_steps": 6, "eval_fraction": 0.2, "evaluate_every": 2, "checkpoint_every": 3, "device": "cpu"}
    whole = train_reward_model(RewardTrainingConfig(out=tmp_path / "whole", **settings), pairs)
    config = RewardTrainingConfig(out=tmp_path / "sharded", resume=True, **settings)
    (tmp_path / "config.json").write_text(config.model_dump_json())
    command = [*TORCHRUN, str(Path(__file__).with_name("sharded_run.py")), str(tmp_path / "config.json")]
    for stop in (["5"], []):
        done = subprocess.run(
            [*command, str(tmp_path / "pairs.jsonl"), *stop], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "sharded" / "checkpoints").exists() is bool(stop)
    sharded = json.loads((tmp_path / "sharded" / "training.json").read_text())
    assert sharded["description"].endswith("2 processes with FSDP")
    assert sharded["losses"] == pytest.approx(whole.losses, abs=1e-5)
    left, right = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "sharded"))
    assert all(torch.allclose(left[name], right[name], atol=1e-4) for name in left)
