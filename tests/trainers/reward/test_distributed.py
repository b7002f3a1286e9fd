"""Two real processes on the CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForSequenceClassification

from music.preferences import read_preferences, write_preferences
from music.reward.packing import TokenSequence, plan_rows
from music_trainers import RewardTrainingConfig, train_reward_model
from music_trainers.reward.distributed import assign_rows, plan_even_rows


def groups(*sizes):
    return [[TokenSequence.read_at_end(list(range(i, i + size)))] for i, size in enumerate(sizes)]


def test_every_row_counts_once_and_all_processes_take_as_many():
    rows = plan_rows(groups(90, 80, 70, 60, 50), 100).rows
    dealt = [assign_rows(rows, 2, process) for process in range(2)]
    assert [len(share) for share in dealt] == [3, 3]
    counted = [each.row for share in dealt for each in share if each.counts]
    assert sorted(map(id, counted)) == sorted(map(id, rows))
    assert [each.counts for each in dealt[1]] == [True, True, False]


def test_rows_are_planned_for_the_processes_where_that_is_possible():
    assert len(plan_rows(groups(*[10] * 30), 100).rows) == 3
    plan = plan_even_rows(groups(*[10] * 30), 100, 2)
    assert len(plan.rows) == 4
    assert max(row.num_tokens for row in plan.rows) <= 100


@pytest.fixture(scope="module")
def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1"}


TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


SETTINGS = {"batch_size": 7, "learning_rate": 3e-3, "micro_batch_tokens": 150, "max_steps": 6, "device": "cpu"}
SETTINGS |= {"evaluate_every": 2, "eval_fraction": 0.2, "checkpoint_every": 3}


def in_two_processes(environment, *arguments):
    command = [*TORCHRUN, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def one(language_checkpoint, make_pairs, tmp_path_factory):
    """Return the folder of what one process makes of `pairs.jsonl` in the folder above it."""
    folder = tmp_path_factory.mktemp("distributed")
    write_preferences(make_pairs(40), folder / "pairs.jsonl")
    config = RewardTrainingConfig(base=str(language_checkpoint()), out=folder / "one", **SETTINGS)
    train_reward_model(config, read_preferences(folder / "pairs.jsonl").pairs)
    return config.out


def require_alike(one, two):
    left, right = (json.loads((out / "training.json").read_text()) for out in (one, two))
    assert right["losses"] == pytest.approx(left["losses"], abs=1e-5)
    assert right["after"]["nll"] == pytest.approx(left["after"]["nll"], abs=1e-5)
    first, second = (load_file(out / "model.safetensors") for out in (one, two))
    assert all(torch.allclose(first[name], second[name], atol=1e-4) for name in first)
    return right


def test_two_processes_train_the_model_that_one_trains(one, tmp_path, environment):
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS.items()]
    music = Path(sys.executable).with_name("music")
    base = json.loads((one / "training.json").read_text())["config"]["base"]
    pairs, out = one.with_name("pairs.jsonl"), tmp_path / "two"
    done = in_two_processes(environment, music, "train", pairs, "--base", base, "--out", out, *flags)
    two = require_alike(one, out)
    assert two["description"].endswith("2 processes"), "a launcher that starts one process would prove nothing"
    assert done.stderr.count("training pairs:") == 1
    assert done.stdout.count("saved to") == 1


def test_a_sharded_model_trains_and_resumes_as_a_whole_one(one, tmp_path, environment):
    config = json.loads((one / "training.json").read_text())["config"] | {"out": str(tmp_path / "sharded")}
    (tmp_path / "config.json").write_text(json.dumps(config))
    script = Path(__file__).with_name("sharded_run.py")
    in_two_processes(environment, script, tmp_path / "config.json", one.with_name("pairs.jsonl"))
    sharded = require_alike(one, tmp_path / "sharded")
    assert sharded["description"].endswith("2 processes with FSDP")
    assert not (tmp_path / "sharded" / "checkpoints").exists()


def test_adapters_over_4_bits_are_those_of_one_process(language_checkpoint, make_pairs, tmp_path, environment):
    base, pairs = language_checkpoint(), tmp_path / "pairs.jsonl"
    write_preferences(make_pairs(40), pairs)
    settings = SETTINGS | {"lora_rank": 4, "load_in_4bit": True, "max_steps": 3}
    config = RewardTrainingConfig(base=str(base), out=tmp_path / "one", **settings)
    train_reward_model(config, read_preferences(pairs).pairs)
    names = {name.replace("_", "-"): value for name, value in settings.items() if value is not True}
    flags = ["--load-in-4bit", *(f"--{name}={value}" for name, value in names.items())]
    music, out = Path(sys.executable).with_name("music"), tmp_path / "two"
    in_two_processes(environment, music, "train", pairs, "--base", base, "--out", out, *flags)
    require_alike(tmp_path / "one", out)


def test_a_sharded_model_in_bf16_keeps_its_head_in_fp32_and_is_loaded_once(reward_checkpoint, environment):
    in_two_processes(environment, Path(__file__).with_name("sharded_scores.py"), reward_checkpoint("gemma2"))


@pytest.fixture
def multimodal(language_checkpoint):
    """Return the folder of a reward model with a vision tower, in fp32."""
    base = language_checkpoint("gemma2")
    text = json.loads((base / "config.json").read_text())
    sizes = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "head_dim")
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = AutoConfig.for_model(
        "gemma3",
        text_config={name: text[name] for name in (*sizes, "num_key_value_heads", "max_position_embeddings")},
        vision_config=vision | {"image_size": 28, "patch_size": 14},
        mm_tokens_per_image=4,
        num_labels=1,
        pad_token_id=text["pad_token_id"],
    )
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(base)
    return base


def test_of_a_multimodal_model_two_processes_train_the_text_model(multimodal, make_pairs, tmp_path, environment):
    write_preferences(make_pairs(40), tmp_path / "pairs.jsonl")
    settings = SETTINGS | {"max_steps": 2}
    alone = RewardTrainingConfig(base=str(multimodal), out=tmp_path / "one", **settings)
    train_reward_model(alone, read_preferences(tmp_path / "pairs.jsonl").pairs)
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    music = Path(sys.executable).with_name("music")
    out = tmp_path / "two"
    in_two_processes(environment, music, "train", tmp_path / "pairs.jsonl", "--base", multimodal, "--out", out, *flags)
    require_alike(tmp_path / "one", out)
    before, after = load_file(multimodal / "model.safetensors"), load_file(out / "model.safetensors")
    assert any("vision" in name for name in before)
    assert not any("vision" in name or "projector" in name for name in after)
    assert len(after) == sum("language_model" in name or name == "score.weight" for name in before)
