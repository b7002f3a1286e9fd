"""`music doctor`, on this installation, and on machines from which something is missing."""

import builtins
import json
from importlib.metadata import EntryPoint, metadata

import pytest

from music.cli import build_shell
from music.doctor import packages
from music.doctor.check import State
from music.doctor.machine import check_devices, check_folders
from music.doctor.packages import PURPOSES, check_extras, check_packages
from music.sandbox.server import ServerConfig, sandbox_server

KEY = "sk-of-nobody-0123456789"


@pytest.fixture
def doctor(capsys, monkeypatch):
    """Run `music doctor ARGS`; return (exit code, stdout)."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(*args):
        shell = build_shell([EntryPoint("doctor", "music.doctor.cli:doctor", "music.commands")])
        with pytest.raises(SystemExit) as exit_info:
            shell.main(args=["doctor", *args], prog_name="music")
        return exit_info.value.code or 0, capsys.readouterr().out

    return run


@pytest.fixture(scope="module")
def url():
    with sandbox_server(ServerConfig()) as base_url:
        yield base_url


def test_all_is_well_here_and_an_endpoint_answers(doctor, url, monkeypatch):
    monkeypatch.setenv("MUSIC_API_KEY", KEY)
    code, out = doctor("--json", "--endpoint", f"good@{url}", "--endpoint", "sandbox")
    found = json.loads(out)
    assert (code, found["ok"]) == (0, True)
    texts = {each["name"]: each["text"] for each in found["checks"]}
    assert texts["torch"][0].isdigit()
    assert "cores" in texts["CPU"]
    assert "GiB" in texts["memory"]
    assert texts[f"good@{url}"].startswith("answers; models sandbox; ")
    assert texts[f"good@{url}"].endswith("; a key is set")
    assert texts["sandbox"] == "in this process"
    assert KEY not in out


def test_an_endpoint_that_does_not_answer_is_a_problem_and_the_exit_code_says_it(doctor, monkeypatch):
    monkeypatch.delenv("MUSIC_API_KEY", raising=False)
    code, out = doctor("--endpoint", "m@http://127.0.0.1:9/v1", "--endpoint", "nonsense")
    assert code == 1
    assert "2 problems:" in out
    assert "is the server running" in " ".join(out.split())
    assert "no key is set" in " ".join(out.split())
    assert "MUSIC_API_KEY_127_0_0_1" in out
    assert max(map(len, out.splitlines())) <= 80


def test_a_missing_extra_comes_with_the_command_that_installs_it(monkeypatch):
    own = packages.version
    monkeypatch.setattr(packages, "version", lambda name: "0.1" if name == "trl" else own(name))
    found = {each.name: each for each in check_extras()}
    assert found["trl"].state is State.OPTIONAL
    assert found["trl"].fix == "pip install 'music-rm[trl]'"
    assert "0.1 is installed, expected >=" in found["trl"].text


def test_a_requirement_that_is_missing_or_too_old_is_a_problem(monkeypatch):
    own = packages.version

    def version(name):
        if name == "jinja2":
            raise packages.PackageNotFoundError(name)
        return "1.0" if name == "torch" else own(name)

    monkeypatch.setattr(packages, "version", version)
    found = {each.name: (each.text, each.fix) for each in check_packages() if each.state is State.PROBLEM}
    assert found == {
        "jinja2": ("not installed", "pip install 'jinja2>=3.1'"),
        "torch": ("1.0 is installed, expected >=2.11", "pip install 'torch>=2.11'"),
    }


def test_every_extra_has_a_purpose():
    assert {*PURPOSES, "dev", "docs"} == set(metadata("music-rm").get_all("Provides-Extra"))


@pytest.mark.parametrize("error", [ImportError("no libtorch.so"), OSError("no libcudart.so"), ValueError("no cuBLAS")])
def test_a_torch_that_cannot_be_imported_is_a_problem(monkeypatch, error):
    own = builtins.__import__

    def broken(name, *args, **kwargs):
        if name == "torch":
            raise error
        return own(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", broken)
    (found,) = check_devices()
    monkeypatch.undo()
    assert (found.state, found.text) == (State.PROBLEM, f"cannot be imported: {error}")
    assert "reinstall torch" in found.fix


def test_a_folder_that_cannot_be_written_is_a_problem(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    found = {each.name: each for each in check_folders()}
    assert found["current folder"].state is State.OK
    assert found["cache"].state is State.PROBLEM
    assert "XDG_CACHE_HOME" in found["cache"].fix
