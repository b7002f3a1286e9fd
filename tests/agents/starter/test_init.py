"""`music init`: what it writes, and that it runs."""

import json
import shlex
import tomllib
from importlib.metadata import EntryPoint
from importlib.resources import files

import pytest

from music.cli import build_shell

COMMANDS = {
    "init": "music_agents.starter.cli:init",
    "simulate": "music_agents.cli:simulate",
    "diagnose": "music.evaluation.diagnostics.cli:diagnose",
    "train": "music_trainers.cli:train",
}
CONFIG = files("music_agents.starter").joinpath("simulate.toml").read_text(encoding="utf-8")


@pytest.fixture
def music(tmp_path, monkeypatch, capsys):
    """Run `music ARGS` in an empty folder; return (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*args):
        shell = build_shell([EntryPoint(name, target, "music.commands") for name, target in COMMANDS.items()])
        with pytest.raises(SystemExit) as exit_info:
            shell.main(args=list(args), prog_name="music")
        return exit_info.value.code or 0, *capsys.readouterr()

    return run


def test_the_printed_commands_run_one_after_another(music, tmp_path, monkeypatch):
    code, out, _ = music("init", "my project", "--json")
    cd, *steps = json.loads(out)["next"]
    assert (code, cd) == (0, "cd 'my project'")
    assert len(steps) == 3
    monkeypatch.chdir(tmp_path / "my project")
    for step in steps:
        name, *args = shlex.split(step)
        assert name == "music"
        args += ["--num-pairs", "20", "--turns", "2"] if args[0] == "simulate" else []  # quicker
        code, _, err = music(*args)
        assert code == 0, err
    assert len((tmp_path / "my project" / "seeds.jsonl").read_text().splitlines()) == 10
    assert (tmp_path / "my project" / "runs" / "rm" / "model.safetensors").is_file()


def test_nothing_is_overwritten_unless_that_is_asked_for(music, tmp_path):
    (tmp_path / "seeds.jsonl").write_text("mine")
    code, _, err = music("init")
    assert code == 1
    assert "seeds.jsonl: there already" in err
    assert "--overwrite" in err
    assert [path.name for path in tmp_path.iterdir()] == ["seeds.jsonl"]
    assert (tmp_path / "seeds.jsonl").read_text() == "mine"
    code, out, _ = music("init", "--overwrite")
    assert code == 0
    assert "cd " not in out
    assert (tmp_path / "simulate.toml").read_text() == CONFIG
    assert (tmp_path / "seeds.jsonl").read_text() != "mine"


def test_a_file_in_place_of_the_folder_is_refused(music, tmp_path):
    (tmp_path / "file").touch()
    code, _, err = music("init", "file")
    assert code == 1
    assert "expected a folder" in err


def test_every_line_that_is_commented_out_is_a_setting_that_simulate_takes(music, tmp_path):
    music("init")
    lines = [line.removeprefix("# ") for line in CONFIG.splitlines() if line.startswith("# ")]
    settings = [line for line in lines if " = " in line and not line.endswith(".")]
    assert len(settings) >= 15
    by_table = {"top_p", "user = {"}
    plain = "".join(f"{line}\n" for line in settings if not line.startswith(tuple(by_table)))
    table = "".join(f"{line}\n" for line in settings if line.startswith(tuple(by_table)))
    own = f'{plain}seeds = "seeds.jsonl"\nout = "runs/all"\n[options]\n{table}'
    assert tomllib.loads(own)
    (tmp_path / "all.toml").write_text(own)
    code, _, err = music("simulate", "--config", "all.toml", "--dry-run")
    assert code == 0, err
