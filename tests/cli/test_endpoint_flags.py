"""The flags of commands that ask endpoints, through the shell."""

import json
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from music.cli import Requests, build_shell
from music.llm.settings import ClientSettings


@pytest.fixture
def music(monkeypatch, capsys):
    """Run the command that asks endpoints; return (exit code, stdout, stderr)."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))

    def run(*args):
        shell = build_shell([EntryPoint("ask", "commands:ask", "music.commands")])
        with pytest.raises(SystemExit) as exit_info:
            shell.main(args=["ask", *map(str, args)], prog_name="music")
        return exit_info.value.code or 0, *capsys.readouterr()

    return run


TABLES = """
max-tries = 3

[options]
temperature = 0.5
stop = ["a"]

[options.user]
temperature = 0.9

[options.user.headers]
X-A = "1.10"

[options.user.extra_body.chat_template_kwargs]
enable_thinking = false
"""


def test_options_stand_in_tables_of_a_file_and_those_of_the_command_line_come_on_top(music, tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(TABLES)
    code, out, err = music("--config", path, "--option", "user.temperature=0.1", "--option", "top_p=0.4")
    assert code == 0, err
    found = json.loads(out)
    shared = {"temperature": 0.5, "stop": ["a"], "top_p": 0.4}
    own = {"temperature": 0.1, "extra_body": {"chat_template_kwargs": {"enable_thinking": False}}}
    assert found["options"] == {"": shared, "user": shared | own, "assistant": shared}
    assert found["headers"] == {"X-A": "1.10"}
    assert (found["retry"]["max_tries"], found["retry"]["patience"]) == (3, 0.0)


def test_the_file_alone_and_the_command_line_alone(music, tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(TABLES)
    assert json.loads(music("--config", path)[1])["options"]["user"]["temperature"] == 0.9
    assert json.loads(music("--option", "seed=false", "--patience", "60")[1])["options"]["user"] == {"seed": False}


def test_a_bad_option_is_one_line(music):
    code, _, err = music("--option", "usr.temperature=1")
    assert code == 1
    assert "--option usr: expected one of the keys" in " ".join(err.split())


def test_what_is_not_given_is_the_clients_own():
    assert Requests().client_settings() == ClientSettings()
    assert Requests(patience=9.0).client_settings(timeout=1.0).retry.patience == 9.0
