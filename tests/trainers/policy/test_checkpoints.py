from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from music.conversation import Conversation
from music.errors import InvalidInputError, MusicError
from music.statistics import mean
from music_trainers.policy.checkpoints import PolicyCheckpoints, RunState
from music_trainers.policy.config import PolicyTrainingConfig
from music_trainers.policy.records import PolicyEvaluation

FIGURES = {"grade": None, "kl": None, "reply_tokens": 3.0, "num_failed": 0, "grades": None}
GREEDY = PolicyEvaluation(step=0, reward=mean([1.0, 2.0]), rewards=(1.0, 2.0), **FIGURES)


@pytest.fixture
def make(tmp_path):
    def make(prompts=(), **settings):
        return PolicyCheckpoints.of(PolicyTrainingConfig(out=tmp_path, **settings), prompts)

    return make


def save(checkpoints, step, write=lambda folder: (folder / "weights").write_text("w")):
    state = RunState(
        settings=dict(checkpoints.settings), step=step, greedy_before=GREEDY, curve=(GREEDY,), steps=(), seconds=1.5
    )
    checkpoints.save(state, write)
    return state


def test_the_last_few_are_kept_and_the_last_is_read(make):
    checkpoints = make(keep_checkpoints=2)
    assert checkpoints.load_last() is None
    states = [save(checkpoints, step) for step in (1, 2, 10)]
    assert [path.name for path in checkpoints.paths] == ["step-00000002", "step-00000010"]
    path, state = checkpoints.load_last()
    assert (path.name, state) == ("step-00000010", states[-1])
    assert (path / "weights").read_text() == "w"
    checkpoints.remove()
    assert not checkpoints.directory.exists()


def test_weights_that_only_the_owner_may_read_get_the_mode_of_the_other_files(make):
    def write(folder: Path) -> None:
        save_file({"w": torch.zeros(1)}, folder / "model.safetensors")  # as safetensors writes it
        (folder / "optimizer.pt").touch()

    save(make(), 1, write)
    (path,) = make().paths
    assert len({file.stat().st_mode for file in path.iterdir()}) == 1


def test_a_checkpoint_that_was_not_finished_is_none(make):
    checkpoints = make()

    def die(folder: Path) -> None:
        (folder / "weights").write_text("half")
        raise KeyboardInterrupt

    save(checkpoints, 1)
    with pytest.raises(KeyboardInterrupt):
        save(checkpoints, 2, die)
    assert checkpoints.load_last()[1].step == 1
    save(checkpoints, 3)
    assert [path.name for path in sorted(checkpoints.directory.iterdir())] == ["step-00000001", "step-00000003"]


def test_a_full_disk_is_told_with_what_to_do(make):
    def fail(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(MusicError, match=r"No space left on device.*make room on the disk, then --resume"):
        save(make(), 1, fail)


def test_a_damaged_state_is_named(make):
    checkpoints = make()
    save(checkpoints, 1)
    (checkpoints.paths[0] / "run.json").write_text("{")
    with pytest.raises(InvalidInputError, match="step-00000001 is damaged"):
        checkpoints.load_last()


def test_other_settings_and_other_prompts_are_another_run_but_a_server_may_move(make):
    first, second = Conversation().user("Hi!"), Conversation().user("Hello!")
    save(make([first], reward="rm@http://127.0.0.1:8300"), 1)
    assert make([first], reward="rm@http://10.0.0.1:9000", max_outage=5, micro_batch_size=1).load_last()
    with pytest.raises(InvalidInputError, match="prompts was"):
        make([second], reward="rm@http://127.0.0.1:8300").load_last()
    with pytest.raises(InvalidInputError, match="reward was rm on a server, is other on a server"):
        make([first], reward="other@http://127.0.0.1:8300").load_last()
