"""`music push`, to a hub on this machine."""

import json
import os
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest
from huggingface_hub import constants

from music.cli import build_shell
from music.errors import InvalidInputError
from music.hub.upload import plan_upload

MODEL = ["README.md", "config.json", "model.safetensors", "score_contract.json", "tokenizer.json", "training.json"]
PAIRS = ["README.md", "pairs-00000.parquet", "pairs-00001.parquet"]


@pytest.fixture
def push(capsys):
    """Run `music push ARGS`; return (exit code, stdout, stderr)."""

    def run(*args):
        shell = build_shell([EntryPoint("push", "music.hub.cli:push", "music.commands")])
        with pytest.raises(SystemExit) as exit_info:
            shell.main(args=["push", *map(str, args)], prog_name="music")
        return exit_info.value.code or 0, *capsys.readouterr()

    return run


def fill(folder, names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")
    return folder


@pytest.fixture
def model(tmp_path):
    left_out = ["checkpoints/step-00000001.pt", "optimizer.pt", "pytorch_model.bin", ".lock", "events.out.tfevents.1"]
    return fill(tmp_path / "rm", [*MODEL, *left_out, "features/a/b.safetensors", ".x.1.partial"])


@pytest.fixture
def pairs(tmp_path):
    left_out = ["journal.sqlite", "journal.sqlite-wal", "run.json", "failures.jsonl", "manifest.json", ".lock"]
    return fill(tmp_path / "pairs", [*PAIRS, *left_out])


def test_a_model_goes_up_without_checkpoints_features_and_pickles(hub, push, model):
    code, out, err = push(model, "me/rm")
    assert code == 0, err
    assert hub.files == {("me/rm", name): f"content of {name}".encode() for name in MODEL}
    assert (hub.repos, hub.unknown, len(hub.commits)) == ({("model", "me/rm"): False}, [], 1)
    assert f"uploaded to {constants.ENDPOINT}/me/rm" in out


def test_pairs_go_up_as_a_private_data_set_without_the_journal(hub, push, pairs):
    code, out, err = push(pairs, "pairs", "--private", "--json")
    assert code == 0, err
    assert {name for _, name in hub.files} == set(PAIRS)
    assert hub.repos == {("dataset", "me/pairs"): True}
    assert json.loads(out)["url"] == f"{constants.ENDPOINT}/datasets/me/pairs"


def test_a_dry_run_lists_the_files_and_sends_nothing(hub, push, pairs, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    code, out, _ = push(pairs, "me/pairs", "--dry-run")
    assert code == 0
    assert [line.split()[-1] for line in out.splitlines()[:-1]] == PAIRS
    assert "nothing was sent" in out
    assert hub.repos == hub.files == {}


def test_what_exists_in_public_is_not_taken_for_private(hub, push, model):
    hub.repos["model", "me/rm"] = False
    code, _, err = push(model, "me/rm", "--private")
    assert code == 1
    assert "exists and is public" in err
    assert hub.files == {}
    assert push(model, "me/rm")[0] == 0


@pytest.mark.parametrize(("status", "words"), [(401, "write access"), (403, "write access"), (500, "answered 500")])
def test_a_hub_that_refuses_is_one_line(hub, push, model, status, words):
    hub.refuses = status
    code, _, err = push(model, "me/rm")
    assert code == 1
    assert words in err
    assert "Traceback" not in err


def test_without_a_token_nothing_is_asked(hub, push, model, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    code, _, err = push(model, "me/rm")
    assert code == 1
    assert "hf auth login" in err
    assert hub.repos == {}


def test_a_name_that_no_repository_can_have_is_refused(hub, push, model):
    code, _, err = push(model, "a/b/c")
    assert code == 1
    assert "expected OWNER/NAME" in err


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["config.json", "pytorch_model.bin"], "weights in safetensors"),
        (["policy/config.json", "result.json"], "did you mean .*policy"),
        (["notes.txt"], "found neither"),
    ],
)
def test_a_folder_that_is_neither_is_refused(tmp_path, names, words):
    with pytest.raises(InvalidInputError, match=words):
        plan_upload(fill(tmp_path, names))


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="no such folder"):
        plan_upload(tmp_path / "nowhere")


def test_in_a_process_of_its_own_the_endpoint_and_the_token_are_those_of_the_environment(hub, model):
    script = "from music.hub.upload import *; from pathlib import Path; import sys\n"
    script += "print(upload(plan_upload(Path(sys.argv[1])), 'me/other'))"
    env = os.environ | {"HF_ENDPOINT": constants.ENDPOINT}
    run = [sys.executable, "-c", script, str(model)]
    done = subprocess.run(run, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{constants.ENDPOINT}/me/other"
    assert len(hub.files) == len(MODEL)
