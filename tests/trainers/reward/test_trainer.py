import json
import math
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.models.llama.modeling_llama import LlamaMLP

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.reward import ContractError, RewardModel
from music_trainers import (
    Mixture,
    PairSource,
    RewardTrainingConfig,
    TrainingDivergedError,
    train_reward_model,
)
from music_trainers.reward import launch
from music_trainers.reward.optimizer import PairOptimizer
from music_trainers.reward.progress import format_result


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


def test_a_base_that_writes_the_date_is_trained_alike_on_every_day(
    language_checkpoint, make_pairs, set_clock, tmp_path
):
    base = language_checkpoint()
    template = base / "chat_template.jinja"
    template.write_text("<|system|>Today is {{ strftime_now('%d %b %Y') }}<|end|>" + template.read_text())
    conversations, scores, losses = [pair.chosen for pair in make_pairs(3)], [], []
    for name, *day in (("a", 2026, 3, 5), ("b", 2027, 11, 28)):
        set_clock(*day)
        losses.append(train_reward_model(make_config(str(base), tmp_path / name, max_steps=2), make_pairs(40)).losses)
        scores.append(RewardModel.from_pretrained(tmp_path / "a", device="cpu").score(conversations))
    assert losses[0] == losses[1]
    assert scores[0] == scores[1]


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


def noisy(pairs):
    """Return pairs with the sides changed over: what a model learns of them, held-out pairs contradict."""
    return [pair.model_copy(update={"chosen": pair.rejected, "rejected": pair.chosen}) for pair in pairs]


def test_the_best_weights_are_saved_and_a_run_without_gain_stops(base, make_pairs, tmp_path):
    """What is learnt is the contrary of what is held out, so the first evaluation is the best."""
    config = make_config(base, tmp_path, num_epochs=9, evaluate_every=2, patience=3)
    result = train_reward_model(config, noisy(make_pairs(40)), make_pairs(20, seed=1))
    assert [evaluation.step for evaluation in result.evaluations] == [2, 4, 6, 8]
    assert (result.saved_step, result.num_steps, result.stopped_early) == (2, 8, True)
    assert result.after == result.evaluations[0].metrics
    two_steps = make_config(base, tmp_path / "two", num_epochs=9, evaluate_every=2, patience=1)
    monitored = train_reward_model(two_steps, noisy(make_pairs(40)), make_pairs(20, seed=1))
    assert monitored.saved_step == 2
    first, second = weights(tmp_path), weights(tmp_path / "two")
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not (tmp_path / "checkpoints").exists()
    model = RewardModel.from_pretrained(tmp_path, device="cpu")
    nll = [
        -math.log(1 / (1 + math.exp(r - c)))
        for c, r in zip(
            *(model([getattr(pair, side) for pair in make_pairs(20, seed=1)]) for side in ("chosen", "rejected")),
            strict=True,
        )
    ]
    assert sum(nll) / len(nll) == pytest.approx(result.after.nll, abs=1e-5)


def test_weights_that_are_worse_than_the_base_are_reported(base, make_pairs, tmp_path):
    config = make_config(base, tmp_path / "worse", num_epochs=2, max_length=256)
    result = train_reward_model(config, noisy(make_pairs(40)), make_pairs(20, seed=1))
    (note,) = json.loads((tmp_path / "worse" / "training.json").read_text())["notes"]
    assert note.startswith(
        f"the saved weights are worse than the base on the held-out pairs: NLL {result.after.nll:.4f}"
    )
    assert f"note: {note}" in format_result(result)
    better = train_reward_model(make_config(base, tmp_path / "better", num_epochs=2, max_length=256), make_pairs(40))
    assert better.notes == ()


def test_held_out_pairs_that_are_trained_on_are_refused_or_counted(base, make_pairs, tmp_path):
    pairs, starts = make_pairs(20), []
    config = make_config(base, tmp_path, max_steps=1, max_length=256)
    with pytest.raises(InvalidInputError, match="all 20 held-out pairs are training pairs"):
        train_reward_model(config, pairs, pairs)
    result = train_reward_model(config, pairs, pairs[:2] + make_pairs(6, seed=3), on_start=starts.append)
    assert starts[0].notes == result.notes[:1]
    assert result.notes[0].startswith("2 of 8 held-out pairs")


@pytest.mark.parametrize("change", [{"adam_beta1": 0.5}, {"adam_beta2": 0.9}, {"scheduler": "constant"}])
def test_betas_and_scheduler_reach_the_optimizer(base, make_pairs, tmp_path, change):
    settings = {"max_steps": 4, "eval_fraction": 0.0}
    plain = train_reward_model(make_config(base, tmp_path / "plain", **settings), make_pairs(40))
    changed = train_reward_model(make_config(base, tmp_path / "changed", **settings, **change), make_pairs(40))
    assert plain.losses[0] == changed.losses[0]
    assert plain.losses[-1] != changed.losses[-1]


def test_a_resumed_run_stops_and_keeps_what_the_uninterrupted_one_does(base, make_pairs, tmp_path):
    settings = {"num_epochs": 9, "evaluate_every": 2, "patience": 4, "checkpoint_every": 3}
    pairs, held_out = noisy(make_pairs(40)), make_pairs(20, seed=1)
    whole = train_reward_model(make_config(base, tmp_path / "whole", **settings), pairs, held_out)
    out = tmp_path / "parts"
    for stop in (5, 8):
        config = make_config(base, out, resume=True, **settings)
        with pytest.raises(StopError):
            train_reward_model(config, pairs, held_out, on_step=stop_after(stop))
    resumed = train_reward_model(make_config(base, out, resume=True, **settings), pairs, held_out)
    assert resumed.losses == whole.losses
    assert resumed.evaluations == whole.evaluations
    assert (resumed.saved_step, resumed.stopped_early) == (whole.saved_step, whole.stopped_early) == (2, True)
    first, second = weights(tmp_path / "whole"), weights(out)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    "change",
    [
        *({"readout": readout} for readout in ("turn_mean", "turn_min", "end_weighted")),
        {"per_turn": 1.0},
        {"ranking": "groups"},
    ],
)
def test_every_objective_learns_and_its_readout_travels_with_the_model(base, make_pairs, tmp_path, change):
    config = make_config(base, tmp_path, num_epochs=4, objective=change)
    result = train_reward_model(config, make_pairs(120, num_turns=3))
    assert result.after.nll < 0.5 * result.before.nll
    model = RewardModel.from_pretrained(tmp_path, device="cpu")
    assert model.contract.readout == change.get("readout", "last")


def test_training_further_keeps_the_base_s_readout_unless_told_otherwise(base, make_pairs, tmp_path):
    def train(base, name, **objective):
        config = make_config(base, tmp_path / name, max_steps=1, objective=objective)
        train_reward_model(config, make_pairs(16, num_turns=2))
        return RewardModel.from_pretrained(config.out, device="cpu").contract.readout

    assert train(base, "first", readout="turn_mean") == "turn_mean"
    assert train(str(tmp_path / "first"), "kept") == "turn_mean"
    assert train(str(tmp_path / "first"), "changed", readout="last") == "last"


def test_a_mixture_is_drawn_by_weight_and_reported(base, make_pairs, tmp_path):
    mixture = Mixture((PairSource("a", make_pairs(16), 2.0), PairSource("b", make_pairs(16, seed=1), 0.5)))
    result = train_reward_model(make_config(base, tmp_path, eval_fraction=0.0), mixture)
    assert [source.num_drawn for source in result.sources] == [32, 8]
    assert result.num_steps == 5
    assert result.pairs.num_used == 32


@pytest.mark.parametrize(
    "change",
    [
        {"states": "split_master"},
        {"states": "bf16_stochastic"},
        {"states": "bf16_stochastic_8bit"},
        {"activation_checkpointing": "full"},
        {"lora_rank": 4, "learning_rate": 1e-2},
    ],
)
def test_memory_policies_learn_and_resume_exactly(base, make_pairs, tmp_path, change):
    settings = {"max_steps": 6, "checkpoint_every": 4, **change}
    whole = train_reward_model(make_config(base, tmp_path / "whole", **settings), make_pairs(60))
    with pytest.raises(StopError):
        train_reward_model(make_config(base, tmp_path / "parts", **settings), make_pairs(60), on_step=stop_after(5))
    resumed = train_reward_model(make_config(base, tmp_path / "parts", resume=True, **settings), make_pairs(60))
    assert resumed.losses == whole.losses
    assert whole.after.nll < whole.before.nll


def test_activation_checkpointing_computes_layers_again_and_changes_no_loss(base, make_pairs, tmp_path, monkeypatch):
    forward, num_passes, losses = LlamaMLP.forward, [], []

    def counted(self, *args):
        num_passes[-1] += 1
        return forward(self, *args)

    monkeypatch.setattr(LlamaMLP, "forward", counted)
    for policy in ("none", "full"):
        num_passes.append(0)
        config = make_config(base, tmp_path / policy, max_steps=4, eval_fraction=0.0, activation_checkpointing=policy)
        losses.append(train_reward_model(config, make_pairs(40)).losses)
    assert num_passes[1] == 2 * num_passes[0]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_figures_reach_the_tracker(base, make_pairs, tmp_path):
    from tensorboard.backend.event_processing import event_accumulator

    result = train_reward_model(make_config(base, tmp_path, max_steps=3, tracker="tensorboard"), make_pairs(40))
    (folder,) = {events.parent for events in tmp_path.glob("music-rm/events.out.tfevents.*")}
    record = event_accumulator.EventAccumulator(str(folder)).Reload()
    assert [event.value for event in record.Scalars("train/loss")] == pytest.approx(result.losses)
    assert [event.step for event in record.Scalars("held_out/nll")] == [0, 3]


def test_a_tracker_that_is_not_installed_is_refused_before_anything_is_done(base, make_pairs, tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "find_spec", lambda name: None)
    with pytest.raises(InvalidInputError, match="wandb is not installed"):
        train_reward_model(make_config(base, tmp_path, tracker="wandb"), make_pairs(40))


def test_an_unfinished_run_is_neither_overwritten_nor_continued_as_another(base, make_pairs, tmp_path):
    config = make_config(base, tmp_path, max_steps=6, checkpoint_every=2)
    with pytest.raises(StopError):
        train_reward_model(config, make_pairs(40), on_step=stop_after(3))
    with pytest.raises(InvalidInputError, match="--resume"):
        train_reward_model(config, make_pairs(40))
    assert [path.stem for path in sorted((tmp_path / "checkpoints").iterdir())] == ["step-00000002"]
    again = config.model_copy(update={"resume": True})
    with pytest.raises(InvalidInputError, match=r"learning_rate was 0\.003, is 0\.1"):
        train_reward_model(again.model_copy(update={"learning_rate": 0.1}), make_pairs(40))
    with pytest.raises(InvalidInputError, match=r"cannot resume .*; training pairs was"):
        train_reward_model(again, make_pairs(40, seed=5))
    with pytest.raises(InvalidInputError, match="held-out pairs was"):
        train_reward_model(again, make_pairs(40), make_pairs(9, seed=5))


def test_an_unfinished_run_is_replaced_on_request(base, make_pairs, tmp_path):
    config = make_config(base, tmp_path, max_steps=6, checkpoint_every=2)
    with pytest.raises(StopError):
        train_reward_model(config, make_pairs(40), on_step=stop_after(5))
    anew = config.model_copy(update={"overwrite": True, "learning_rate": 0.001})
    with pytest.raises(StopError):
        train_reward_model(anew, make_pairs(40), on_step=stop_after(3))
    # Checkpoints of the replaced run would count as later ones.
    assert [path.stem for path in sorted((tmp_path / "checkpoints").iterdir())] == ["step-00000002"]
    result = train_reward_model(anew.model_copy(update={"resume": True, "overwrite": False}), make_pairs(40))
    assert result.num_steps == 6
    assert not (tmp_path / "checkpoints").exists()


def test_a_finished_run_is_not_resumed_and_so_not_trained_anew(base, make_pairs, tmp_path):
    train_reward_model(make_config(base, tmp_path, max_steps=1), make_pairs(40))
    with pytest.raises(InvalidInputError, match="holds a finished run"):
        train_reward_model(make_config(base, tmp_path, max_steps=2, resume=True), make_pairs(40))


def test_resuming_without_a_checkpoint_begins_anew(base, make_pairs, tmp_path):
    result = train_reward_model(make_config(base, tmp_path, max_steps=2, resume=True), make_pairs(40))
    assert len(result.losses) == 2


def test_a_run_whose_loss_is_no_number_stops_and_calls_no_broken_checkpoint_good(base, make_pairs, tmp_path):
    config = make_config(base, tmp_path, max_steps=50, learning_rate=1e30, warmup_fraction=0.0, checkpoint_every=1)
    with pytest.raises(TrainingDivergedError, match=r"diverged at step 2: loss nan.*rate \(1e\+30\).*checkpoint: none"):
        train_reward_model(config, make_pairs(40))


def test_weights_that_the_last_step_broke_are_not_saved(base, make_pairs, tmp_path, monkeypatch):
    step = PairOptimizer.step

    def breaking_step(self, batch, rate):
        outcome = step(self, batch, rate)
        torch.nn.init.constant_(self.classifier.score.weight, math.inf)
        return outcome

    monkeypatch.setattr(PairOptimizer, "step", breaking_step)
    with pytest.raises(TrainingDivergedError, match="at step 1: 16 of 16 held-out rewards are not finite numbers"):
        train_reward_model(make_config(base, tmp_path, max_steps=1), make_pairs(40))
    assert not (tmp_path / "training.json").exists()


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (math.inf, "expected weights that are finite numbers, but 32 of score.weight are"),
        (3e38, "expected a model whose rewards are numbers, but 1[0-6] of 16"),
    ],
)
def test_a_base_whose_rewards_are_no_numbers_is_named(reward_checkpoint, make_pairs, tmp_path, weight, message):
    base = reward_checkpoint()
    path = base / "model.safetensors"
    save_file(load_file(path) | {"score.weight": torch.full((1, 32), weight)}, path, {"format": "pt"})
    with pytest.raises(InvalidInputError, match=message):
        train_reward_model(make_config(str(base), tmp_path), make_pairs(40))


def test_a_run_whose_loss_leaps_stops_and_names_the_last_checkpoint_before(base, make_pairs, tmp_path, monkeypatch):
    step = PairOptimizer.step

    def broken_from_step_31(self, batch, rate):
        outcome = step(self, batch, rate)
        self.num_taken = getattr(self, "num_taken", 0) + 1
        return replace(outcome, loss=9.0) if self.num_taken > 30 else outcome

    monkeypatch.setattr(PairOptimizer, "step", broken_from_step_31)
    config = make_config(base, tmp_path, max_steps=60, checkpoint_every=2, learning_rate=1e-4)
    with pytest.raises(TrainingDivergedError, match=r"at step 35: loss 9, far above.*checkpoint: .*step-00000028\.pt"):
        train_reward_model(config, make_pairs(40))
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir())[-1] == "step-00000030.pt"


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


def test_a_run_without_the_pairs_that_it_needs_is_refused(base, make_pairs, tmp_path):
    def message(pairs, eval_pairs=None, **changes):
        with pytest.raises(InvalidInputError) as caught:
            train_reward_model(make_config(base, tmp_path, **changes), pairs, eval_pairs)
        return str(caught.value)

    pairs, long = make_pairs(20), make_pairs(4, seed=1, num_turns=1)
    long = [pair.model_copy(update={"chosen": Conversation().user("one").assistant("two " * 900)}) for pair in long]
    assert "no held-out pair is left to measure on: 4 read, 0 used" in message(pairs, long)
    assert "patience counts evaluations on held-out pairs" in message(pairs, eval_fraction=0.0, patience=2)
    assert "no pair is drawn in an epoch" in message(Mixture((PairSource("a", pairs, 0.01),)))
    with_margins = Mixture((PairSource("a", pairs, margins={"0": 1.0, "1": 1.0, "2": 1.0}),))
    assert "does not use margins" in message(with_margins, eval_fraction=0.0, objective={"ranking": "groups"})


def test_the_contract_carries_the_length_of_training(base, make_pairs, tmp_path):
    result = train_reward_model(make_config(base, tmp_path, max_length=60, max_steps=1), make_pairs(40, num_turns=6))
    assert result.pairs.num_truncated > 0
    assert RewardModel.from_pretrained(tmp_path, device="cpu").contract.max_length == 60


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 0},
        {"eval_fraction": 1.0},
        {"device": "abacus"},
        {"lr": 1},
        {"patience": 2, "evaluate_every": 0},
    ],
)
def test_settings_without_sense_are_refused(tmp_path, change):
    with pytest.raises(ValidationError):
        make_config("base", tmp_path, **change)


def test_a_base_without_a_template_is_trained_with_the_one_that_is_saved(
    language_checkpoint, make_tokenizer, make_pairs, tmp_path
):
    base = language_checkpoint()
    (base / "chat_template.jinja").unlink()
    tokenizer = make_tokenizer(None, pad_token=None)
    tokenizer.eos_token = "<|end|>"
    tokenizer.save_pretrained(base)
    with pytest.raises(InvalidInputError, match=r"no chat template: name one with --chat-template, .*zephyr"):
        train_reward_model(make_config(str(base), tmp_path / "none"), make_pairs(20))
    choice = {"chat_template": "zephyr", "read_at": "last_non_pad"}
    out = tmp_path / "rm"
    tokenizer.pad_token = "<|end|>"
    tokenizer.save_pretrained(base)
    train_reward_model(make_config(str(base), out, max_steps=2, **choice), make_pairs(20))
    model = RewardModel.from_pretrained(out, device="cpu")
    assert model.contract.read_at == "last_non_pad"
    talk = make_pairs(1)[0].chosen
    vanilla = AutoModelForSequenceClassification.from_pretrained(out)
    ids = AutoTokenizer.from_pretrained(out).apply_chat_template(talk.to_messages(), return_dict=True)["input_ids"]
    with torch.no_grad():
        assert model.score([talk])[0] == pytest.approx(vanilla(torch.tensor([ids])).logits.item(), abs=1e-5)
    with pytest.raises(ContractError, match="chat_template_sha256"):
        train_reward_model(
            make_config(str(out), tmp_path / "other", chat_template=str(_other(tmp_path))), make_pairs(20)
        )


def _other(folder):
    file = folder / "other.jinja"
    file.write_text("{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}")
    return file
