"""Checkpoints that can no longer be read."""

import os
import resource
from contextlib import contextmanager

import pytest
import torch

from music.errors import InvalidInputError, MusicError
from music_trainers import RewardTrainingConfig, train_reward_model
from music_trainers.reward.checkpoints import Checkpoints


@pytest.fixture(scope="module")
def base(language_checkpoint):
    return str(language_checkpoint())


def make_config(base, out, **changes):
    settings = {"learning_rate": 3e-3, "batch_size": 8, "eval_fraction": 0.2, "device": "cpu"}
    return RewardTrainingConfig(base=base, out=out, **settings | changes)


class StopError(Exception):
    """Ends a run from outside, as a crash would."""


def stop_after(num_steps):
    def on_step(step):
        if step.step == num_steps:
            raise StopError

    return on_step


@pytest.fixture
def interrupted(base, make_pairs, tmp_path):
    """Leave a run with checkpoints after steps 3 and 6, and best weights of step 4; return how to resume it."""
    config = make_config(base, tmp_path / "out", max_steps=8, checkpoint_every=3, evaluate_every=2)
    with pytest.raises(StopError):
        train_reward_model(config, make_pairs(60), on_step=stop_after(7))
    files = sorted(path.name for path in (tmp_path / "out" / "checkpoints").iterdir())
    assert [name for name in files if name.startswith("step")] == ["step-00000003.pt", "step-00000006.pt"]
    return config.model_copy(update={"resume": True})


@pytest.mark.parametrize("size", [0, 2, 1000, 20_000])
def test_a_truncated_checkpoint_is_named_and_the_earlier_one_taken(base, make_pairs, interrupted, size, caplog):
    path = interrupted.out / "checkpoints" / "step-00000006.pt"
    path.write_bytes(path.read_bytes()[:size])
    starts = []
    resumed = train_reward_model(interrupted, make_pairs(60), on_start=starts.append)
    assert starts[0].first_step == 3
    assert f"{path} is damaged" in caplog.text
    whole = train_reward_model(
        make_config(base, interrupted.out.parent / "whole", max_steps=8, evaluate_every=2), make_pairs(60)
    )
    assert resumed.losses == whole.losses
    assert resumed.evaluations == whole.evaluations


def test_a_checkpoint_without_its_best_weights_is_passed_over(make_pairs, interrupted, caplog):
    folder = interrupted.out / "checkpoints"
    needed = torch.load(folder / "step-00000006.pt", weights_only=True)["best_step"]
    best = folder / f"best-{needed:08d}.pt"
    best.write_bytes(best.read_bytes()[:5000])
    starts = []
    train_reward_model(interrupted, make_pairs(60), on_start=starts.append)
    assert starts[0].first_step == 3
    assert "step-00000006.pt is damaged" in caplog.text


@contextmanager
def full_disk(num_bytes):
    """Let writes fail beyond a file's size, as on a disk without room."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_without_room_for_a_checkpoint_the_earlier_one_is_named_and_stays(base, make_pairs, interrupted):
    size = (interrupted.out / "checkpoints" / "step-00000006.pt").stat().st_size
    longer = interrupted.model_copy(update={"checkpoint_every": 7})
    with full_disk(size // 2), pytest.raises(MusicError, match=r"step-00000007\.pt could not be written .*00000006"):
        train_reward_model(longer, make_pairs(60))
    assert not [*(interrupted.out / "checkpoints").glob(".*")]
    starts = []
    assert train_reward_model(interrupted, make_pairs(60), on_start=starts.append).num_steps == 8
    assert starts[0].first_step == 6


def test_without_room_for_the_model_the_checkpoints_stay_and_the_run_is_not_finished(make_pairs, interrupted):
    with full_disk(10_000), pytest.raises(MusicError, match=r"model could not be written .*last .*step-00000006\.pt"):
        train_reward_model(interrupted, make_pairs(60))
    assert not (interrupted.out / "training.json").exists()


def test_what_a_killed_run_was_writing_goes_when_the_next_checkpoint_comes(tmp_path):
    (tmp_path / ".step-00000002.pt.123.partial").write_bytes(b"half")
    checkpoints = Checkpoints(tmp_path, identity={}, keep=2)
    assert checkpoints.load_last() is None
    checkpoints.save(4, {"step": 4}, None)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000004.pt"]


def test_the_model_is_on_disk_before_the_checkpoints_go(base, make_pairs, tmp_path, monkeypatch):
    synced, left = [], []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    remove = Checkpoints.remove
    monkeypatch.setattr(Checkpoints, "remove", lambda self: (left.extend(synced), remove(self)))
    train_reward_model(make_config(base, tmp_path, max_steps=2, checkpoint_every=1), make_pairs(40))
    files = [path for path in tmp_path.iterdir() if path.is_file()]
    assert {"model.safetensors", "score_contract.json", "training.json"} <= {path.name for path in files}
    assert {path.stat().st_ino for path in files} <= set(left)
    assert left.index((tmp_path / "model.safetensors").stat().st_ino) < left.index(
        (tmp_path / "training.json").stat().st_ino
    )


def test_best_weights_are_kept_for_every_checkpoint_that_refers_to_them(tmp_path):
    checkpoints = Checkpoints(tmp_path, identity={}, keep=2)
    for step in (2, 4, 6):
        checkpoints.save_best(step - 1, {})
        checkpoints.save(step, {"step": step}, step - 1)
    assert sorted(path.name for path in tmp_path.glob("best-*")) == ["best-00000003.pt", "best-00000005.pt"]


def test_where_no_checkpoint_is_whole_all_are_named(make_pairs, interrupted):
    for path in (interrupted.out / "checkpoints").glob("step-*.pt"):
        path.write_bytes(b"")
    with pytest.raises(InvalidInputError, match=r"step-00000006\.pt is damaged.*step-00000003\.pt is damaged.*delete"):
        train_reward_model(interrupted, make_pairs(60))
