"""What a run leaves in its folder, and what it leaves alone."""

import os
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from music.errors import InvalidInputError
from music.files import locked_folder
from music.reward.tokens.contract import ScoreContract
from music_trainers import RewardTrainingConfig, train_reward_head, train_reward_model
from music_trainers.reward.records import RewardTrainingResult


@pytest.fixture(scope="module")
def base(language_checkpoint):
    return str(language_checkpoint())


def make_config(base, out, **changes):
    settings = {"learning_rate": 3e-3, "batch_size": 8, "eval_fraction": 0.2, "device": "cpu"}
    return RewardTrainingConfig(base=base, out=out, **settings | changes)


def weights(directory):
    return load_file(directory / "model.safetensors")


def test_a_folder_with_a_model_is_left_alone_unless_it_may_be_replaced(base, make_pairs, tmp_path):
    train_reward_model(make_config(base, tmp_path, max_steps=1), make_pairs(40))
    before = weights(tmp_path)
    with pytest.raises(InvalidInputError, match=r"holds a finished run .*--overwrite"):
        train_reward_model(make_config(base, tmp_path, max_steps=2), make_pairs(40))
    for mark in ("config.json", "model.safetensors", "adapter_config.json"):
        other = tmp_path / mark.partition(".")[0]
        other.mkdir()
        (other / mark).touch()
        with pytest.raises(InvalidInputError, match=rf"another model \({mark}\)"):
            train_reward_model(make_config(base, other), make_pairs(40))
    assert all(torch.equal(weight, before[name]) for name, weight in weights(tmp_path).items())
    result = train_reward_model(make_config(base, tmp_path, max_steps=2, overwrite=True), make_pairs(40))
    assert RewardTrainingResult.model_validate_json((tmp_path / "training.json").read_bytes()) == result
    assert result.num_steps == 2


def test_the_base_is_not_written_over(base, make_pairs):
    with pytest.raises(InvalidInputError, match="the folder of --base"):
        train_reward_model(make_config(base, Path(base) / ".." / Path(base).name, overwrite=True), make_pairs(40))


def test_a_run_that_ended_before_its_checkpoints_went_is_finished(base, make_pairs, tmp_path):
    train_reward_model(make_config(base, tmp_path, max_steps=1), make_pairs(40))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "step-00000001.pt").touch()
    for resume in (False, True):
        with pytest.raises(InvalidInputError, match="holds a finished run"):
            train_reward_model(make_config(base, tmp_path, max_steps=1, resume=resume), make_pairs(40))


@pytest.mark.parametrize("freeze", ["none", "backbone"])
def test_the_card_says_what_the_model_is_and_how_well_it_ranks(base, make_pairs, tmp_path, freeze):
    if freeze == "none":
        result = train_reward_model(make_config(base, tmp_path, max_steps=2), make_pairs(40))
    else:
        config = RewardTrainingConfig(base=base, out=tmp_path, freeze=freeze, eval_fraction=0.2, device="cpu")
        result = train_reward_head(config, make_pairs(40))
    card = ModelCard((tmp_path / "README.md").read_text())
    assert card.data.pipeline_tag == "text-classification"
    assert {"license", "base_model"}.isdisjoint(card.data.to_dict())  # the base is a folder
    assert f"from `{Path(base).name}` on" in card.text
    assert str(base) not in card.text
    assert f"| this model | {result.after.accuracy:.3f} | {result.after.nll:.4f} |" in card.text
    assert ScoreContract.load(tmp_path / "score_contract.json").chat_template_sha256[:16] in card.text


def test_a_folder_admits_one_run_at_a_time(base, make_pairs, tmp_path):
    """Two runs in one folder would mix their checkpoints, and the later one would replace the model of the other."""
    pairs, config = make_pairs(40), make_config(base, tmp_path, max_steps=2)
    another = pytest.raises(InvalidInputError, match="another process is running there")

    def enter(step):
        with another, locked_folder(tmp_path):
            pass

    train_reward_model(config, pairs, on_step=enter)
    before = weights(tmp_path)
    frozen = RewardTrainingConfig(base=base, out=tmp_path, freeze="backbone", device="cpu", overwrite=True)
    with locked_folder(tmp_path):
        with another:
            train_reward_model(config.model_copy(update={"overwrite": True}), pairs)
        with another:
            train_reward_head(frozen, pairs)
    assert all(torch.equal(weight, before[name]) for name, weight in weights(tmp_path).items())


@pytest.fixture
def _umask():
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_umask")
def test_files_of_a_model_have_the_modes_of_any_new_file(base, make_pairs, tmp_path):
    train_reward_model(make_config(base, tmp_path, max_steps=1), make_pairs(40))
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir() if path.is_file()}
    assert "model.safetensors" in modes
    assert set(modes.values()) == {0o640}, modes


def test_a_length_beyond_the_models_own_is_reported_and_recorded_as_it_is(base, make_pairs, tmp_path):
    starts = []
    asked = make_config(base, tmp_path / "long", max_steps=1, max_length=10**6)
    result = train_reward_model(asked, make_pairs(40), on_start=starts.append)
    limit = result.config.max_length
    assert limit < 10**6
    assert (
        f"--max-length 1000000 is more than {base} can read: conversations are cut to its own limit, {limit}"
        in starts[0].notes[0]
    )
    train_reward_model(
        make_config(base, tmp_path / "short", max_steps=1, max_length=limit), make_pairs(40), on_start=starts.append
    )
    assert starts[1].notes == ()
