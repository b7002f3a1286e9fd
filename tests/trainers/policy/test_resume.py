"""Runs that end early: by SIGINT and SIGKILL in real processes, and by Ctrl-C at chosen moments in this one."""

import os
import signal
import subprocess
import sys

import orjson
import pytest

from music.errors import InvalidInputError
from music_trainers.policy import trainer as trainer_module
from music_trainers.policy.config import PolicyTrainingConfig
from music_trainers.policy.run import train_policy

SMALL = {"num_groups": 2, "group_size": 2, "num_turns": 2, "updates_per_step": 2, "max_reply_tokens": 12}
SMALL |= {"num_steps": 6, "evaluate_every": 2, "num_evaluations": 2, "checkpoint_every": 1}
FILES = ("policy/model.safetensors", "training.jsonl", "before.jsonl", "after.jsonl")


def outcome(out):
    """Return everything that a run leaves, except durations and settings without influence."""
    result = orjson.loads((out / "result.json").read_bytes())
    del result["seconds"], result["config"]
    return [result, *((out / name).read_bytes() for name in FILES)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    config = PolicyTrainingConfig(out=tmp_path_factory.mktemp("rl") / "whole", **SMALL)
    train_policy(config)
    return outcome(config.out)


def start(out, *flags):
    """Start `music rl` as a process of its own."""
    settings = [
        f"--{'turns' if name == 'num_turns' else name.replace('_', '-')}={value}" for name, value in SMALL.items()
    ]
    command = [sys.executable, "-c", "from music.cli import main; main()", "rl", "--out", str(out), *settings, *flags]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=env)


def signal_at(process, beginning, number):
    """Send a signal once a line with this beginning is on screen; return the exit code and all lines."""
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith(beginning):
            process.send_signal(number)
    return process.wait(), "".join(lines)


def test_a_run_that_is_interrupted_then_killed_ends_as_if_it_never_was(whole, tmp_path):
    out = tmp_path / "rl"
    code, lines = signal_at(start(out), "step 2/6", signal.SIGINT)
    assert code == 130
    assert "Traceback" not in lines
    assert "kernels" not in lines  # nothing of bitsandbytes, which TRL imports
    assert "FutureWarning" not in lines
    assert lines.endswith("resume it with the same command and --resume\ninterrupted\n")
    code, lines = signal_at(start(out, "--resume"), "step 4/6", signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert not (out / "result.json").exists()
    train_policy(PolicyTrainingConfig(out=out, resume=True, **SMALL))
    assert outcome(out) == whole


def press_ctrl_c(monkeypatch, name, number):
    """Press Ctrl-C at the nth call of a method of the trainer."""
    method = getattr(trainer_module.TurnTrainer, name)
    calls = []

    def pressed(self, *args, **kwargs):
        calls.append(name)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGINT)
        return method(self, *args, **kwargs)

    monkeypatch.setattr(trainer_module.TurnTrainer, name, pressed)


@pytest.mark.parametrize(
    ("method", "number", "saved", "line"),
    [
        ("_roll_out", 3, 2, "saved the run"),  # at once, without the step
        ("compute_loss", 5, 3, "finishing the step"),  # in the first update of step 3, after that step
    ],
)
def test_ctrl_c_saves_the_last_whole_step(whole, tmp_path, monkeypatch, method, number, saved, line):
    config = PolicyTrainingConfig(out=tmp_path, **SMALL | {"checkpoint_every": 0})
    lines = []
    monkeypatch.setattr(trainer_module, "SHARD", "500KB")  # as for a large model, whose weights are in several files
    with monkeypatch.context() as patch:
        press_ctrl_c(patch, method, number)
        with pytest.raises(KeyboardInterrupt):
            train_policy(config, on_notice=lines.append)
    assert len(list(tmp_path.glob("checkpoints/*/model-*.safetensors"))) > 1
    assert line in lines[0]
    assert f"step-{saved:08d}; resume it" in lines[-1]
    train_policy(config.model_copy(update={"resume": True}))
    assert outcome(tmp_path) == whole


def test_an_unfinished_run_is_not_lost_by_mistake(whole, tmp_path, monkeypatch):
    config = PolicyTrainingConfig(out=tmp_path, **SMALL)
    with monkeypatch.context() as patch:
        press_ctrl_c(patch, "_roll_out", 3)
        with pytest.raises(KeyboardInterrupt):
            train_policy(config)
    with pytest.raises(InvalidInputError, match=r"unfinished run; resume it \(--resume\)"):
        train_policy(config)
    with pytest.raises(InvalidInputError, match=r"cannot resume .*: discount was 0\.0, is 0\.5"):
        train_policy(config.model_copy(update={"resume": True, "discount": 0.5}))
    assert [path.name for path in sorted((tmp_path / "checkpoints").iterdir())] == ["step-00000001", "step-00000002"]
    train_policy(config.model_copy(update={"overwrite": True}))  # from the first step
    assert outcome(tmp_path) == whole
    with pytest.raises(InvalidInputError, match="--overwrite"):
        train_policy(config.model_copy(update={"resume": True}))
