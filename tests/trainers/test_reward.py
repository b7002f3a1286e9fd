import json

import pytest
import torch
from pydantic import ValidationError
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from music.errors import InvalidInputError
from music.reward import RewardModel
from music_trainers import RewardTrainingConfig, TrainingDivergedError, train_reward_model


@pytest.fixture(scope="module")
def base(language_checkpoint):
    return str(language_checkpoint())


def make_config(base, out, **changes):
    settings = {"learning_rate": 3e-3, "batch_size": 8, "eval_fraction": 0.2, "device": "cpu"}
    return RewardTrainingConfig(base=base, out=out, **settings | changes)


def weights(directory):
    return AutoModelForSequenceClassification.from_pretrained(directory).state_dict()


class StopError(Exception):
    """Ends a run from outside, as a crash would."""


def stop_after(num_steps):
    def on_step(step):
        if step.step == num_steps:
            raise StopError

    return on_step


def test_learns_what_can_be_learnt_and_leaves_a_vanilla_checkpoint(base, make_pairs, tmp_path):
    pairs = make_pairs(240)
    starts, steps = [], []
    config = make_config(base, tmp_path, num_epochs=3)
    result = train_reward_model(config, pairs, on_start=starts.append, on_step=steps.append)
    assert result.before.accuracy < 0.9
    assert result.after.accuracy == 1.0
    assert result.after.nll < result.before.nll
    assert result.pairs.num_read + result.held_out.num_read == 240
    assert [step.step for step in steps] == list(range(1, result.num_steps + 1))
    assert [step.loss for step in steps] == result.losses
    assert starts[0].num_steps == result.num_steps == len(result.losses)
    assert "new head) on cpu in fp32" in starts[0].description
    record = json.loads((tmp_path / "training.json").read_text())
    assert record["losses"] == result.losses
    assert record["pairs"]["num_used"] == result.pairs.num_used
    assert not (tmp_path / "checkpoints").exists()

    model = RewardModel.from_pretrained(tmp_path, device="cpu")
    assert model.contract.reference.num_conversations == 2 * result.held_out.num_used
    conversations = [pair.chosen for pair in pairs[:8]]
    classifier = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    batch = AutoTokenizer.from_pretrained(tmp_path).apply_chat_template(
        [c.to_messages() for c in conversations], return_dict=True, padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        assert model(conversations) == pytest.approx(classifier(**batch).logits.squeeze(-1).tolist(), abs=1e-5)


def test_the_same_seed_gives_the_same_weights(base, make_pairs, tmp_path):
    losses = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        config = make_config(base, tmp_path / name, max_steps=4, seed=seed)
        losses.append(train_reward_model(config, make_pairs(40)).losses)
    assert losses[0] == losses[1] != losses[2]
    first, second = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_resumed_run_is_the_uninterrupted_run(base, make_pairs, tmp_path):
    pairs = make_pairs(60)
    settings = {"max_steps": 14, "checkpoint_every": 3, "keep_checkpoints": 2}
    whole = train_reward_model(make_config(base, tmp_path / "whole", **settings), pairs)
    out = tmp_path / "parts"
    with pytest.raises(StopError):
        train_reward_model(make_config(base, out, **settings), pairs, on_step=stop_after(11))
    assert [path.name for path in sorted((out / "checkpoints").iterdir())] == ["step-00000006.pt", "step-00000009.pt"]
    starts = []
    resumed = train_reward_model(make_config(base, out, resume=True, **settings), pairs, on_start=starts.append)
    assert starts[0].first_step == 9
    assert resumed.losses == whole.losses
    assert (resumed.num_tokens, resumed.before, resumed.after) == (whole.num_tokens, whole.before, whole.after)
    first, second = weights(tmp_path / "whole"), weights(out)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_an_unfinished_run_is_neither_overwritten_nor_continued_as_another(base, make_pairs, tmp_path):
    config = make_config(base, tmp_path, max_steps=6, checkpoint_every=2)
    with pytest.raises(StopError):
        train_reward_model(config, make_pairs(40), on_step=stop_after(3))
    with pytest.raises(InvalidInputError, match="--resume"):
        train_reward_model(config, make_pairs(40))
    again = config.model_copy(update={"resume": True})
    with pytest.raises(InvalidInputError, match=r"learning_rate was 0\.003, is 0\.1"):
        train_reward_model(again.model_copy(update={"learning_rate": 0.1}), make_pairs(40))
    with pytest.raises(InvalidInputError, match="training pairs was"):
        train_reward_model(again, make_pairs(40, seed=5))


def test_resuming_without_a_checkpoint_begins_anew(base, make_pairs, tmp_path):
    result = train_reward_model(make_config(base, tmp_path, max_steps=2, resume=True), make_pairs(40))
    assert len(result.losses) == 2


def test_a_diverging_run_stops_and_names_the_last_checkpoint(base, make_pairs, tmp_path):
    config = make_config(base, tmp_path, max_steps=50, learning_rate=1e30, warmup_fraction=0.0, checkpoint_every=1)
    with pytest.raises(
        TrainingDivergedError, match=r"Lower the learning rate \(1e\+30\); last checkpoint: .*step-0"
    ) as error:
        train_reward_model(config, make_pairs(40))
    assert str(tmp_path) in str(error.value)


def test_a_reward_model_keeps_its_head(reward_checkpoint, make_pairs, tmp_path):
    base = reward_checkpoint()
    starts = []
    config = make_config(str(base), tmp_path, max_steps=1, learning_rate=1e-9)
    train_reward_model(config, make_pairs(40), on_start=starts.append)
    assert "its own head" in starts[0].description
    assert torch.allclose(weights(tmp_path)["score.weight"], weights(base)["score.weight"])


def test_held_out_pairs_can_be_given_or_left_out(base, make_pairs, tmp_path):
    given = train_reward_model(make_config(base, tmp_path / "a", max_steps=1), make_pairs(16), make_pairs(9, seed=1))
    assert (given.pairs.num_read, given.after.num_pairs) == (16, 9)
    none = train_reward_model(make_config(base, tmp_path / "b", max_steps=1, eval_fraction=0.0), make_pairs(16))
    assert (none.before, none.after) == (None, None)
    assert RewardModel.from_pretrained(tmp_path / "b", device="cpu").contract.reference is None


def test_over_long_pairs_are_counted_and_a_set_without_any_other_is_refused(base, make_pairs, tmp_path):
    with pytest.raises(InvalidInputError, match=r"20 read, 0 used .* 20 over_long"):
        train_reward_model(make_config(base, tmp_path, max_length=5, eval_fraction=0.0), make_pairs(20))


def test_the_contract_carries_the_length_of_training(base, make_pairs, tmp_path):
    result = train_reward_model(make_config(base, tmp_path, max_length=60, max_steps=1), make_pairs(40, num_turns=6))
    assert result.pairs.num_truncated > 0
    assert RewardModel.from_pretrained(tmp_path, device="cpu").contract.max_length == 60


@pytest.mark.parametrize("change", [{"learning_rate": 0}, {"eval_fraction": 1.0}, {"device": "abacus"}, {"lr": 1}])
def test_settings_without_sense_are_refused(tmp_path, change):
    with pytest.raises(ValidationError):
        make_config("base", tmp_path, **change)
