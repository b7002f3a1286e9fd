import json
import subprocess
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest

from music.cli import build_shell

GROUP = "music.commands"
TARGETS = {
    "count": "commands:count",
    "cook": "commands:cook",
    "fail": "commands:fail",
    "wait": "commands:wait",
    "group": "commands:app",
    "broken": "no_such_distribution.cli:run",
}


@pytest.fixture
def music(monkeypatch, capsys):
    """Run `music ARGS` over the test commands; return (exit code, stdout, stderr)."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*args):
        shell = build_shell([EntryPoint(name, target, GROUP) for name, target in TARGETS.items()])
        with pytest.raises(SystemExit) as exit_info:
            shell.main(args=[str(arg) for arg in args], prog_name="music")
        out, err = capsys.readouterr()
        return exit_info.value.code or 0, out, err

    return run


def result(run):
    code, out, err = run
    assert code == 0, err
    return json.loads(out)


def test_help_lists_every_command_and_says_which_one_cannot_be_loaded(music):
    code, out, _ = music("--help")
    assert code == 0
    assert "Count things in files." in out
    assert "Sub-commands." in out
    assert all(name in out for name in TARGETS)
    assert "No module named 'no_such_distribution'" in out


def test_command_that_cannot_be_loaded_fails_in_one_line(music):
    code, _, err = music("broken", "x", "--flag", "1")
    assert code == 1
    assert "no_such_distribution" in err
    assert "Traceback" not in err


def test_mistyped_command_names_the_nearest(music):
    code, _, err = music("cuont")
    assert code == 2
    assert "'count'" in err


def test_command_help_shows_its_example_and_the_shells_flags(music):
    _, out, _ = music("count", "--help")
    assert "music count a.jsonl --num-pairs 3" in out
    assert "--config" in out


def test_version_from_the_shell_and_from_a_command(music):
    code, out, _ = music("--version")
    assert code == 0
    assert out.startswith("music-rm ")
    assert music("count", "--version") == (code, out, "")


def test_json_result_is_alone_on_stdout(music):
    expected = {"files": ["a"], "num_pairs": 10, "rate": 0.5, "tag": None, "dry": False}
    assert result(music("count", "a", "--json")) == expected


def test_result_for_people_without_json(music):
    code, out, _ = music("count", "a")
    assert code == 0
    assert "num_pairs: 10\n" in out


def test_app_with_one_command_stays_a_group(music):
    assert result(music("group", "only", "--port", 7)) == {"port": 7}


def test_coroutine_runs_on_uvloop_where_there_is_one(music):
    assert result(music("wait"))["loop"].startswith("asyncio" if sys.platform == "win32" else "uvloop")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("music", "expected a [bold] number, got 'x'; give a number"),
        ("pydantic", "invalid _Recipe: steps: expected a valid integer, got 'many'"),
        ("emoji", "judge:x:y"),
        ("file", "/nowhere/pairs.jsonl: No such file or directory"),
    ],
)
def test_error_of_the_user_is_one_line_and_exit_code_1(music, how, words):
    code, out, err = music("fail", how)
    assert (code, out) == (1, "")
    assert words in err
    assert err.count("\n") == 1
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--turns", 0], "error: --turns: expected a value greater than or equal to 1, got 0"),
        (["--heat", -1], "error: --heat: expected a value greater than or equal to 0, got -1.0"),
        (["--judge-warmth", -2], "error: --judge-warmth: expected a value greater than or equal to 0, got -2.0"),
        (["--oven", "sun"], "error: --oven: expected 'gas' or 'wood', got 'sun'"),
        (["--heat", 9], "error: expected --turns of at least the heat: raise --turns"),
        (["--turns", 0, "--oven", 1], "--turns: expected a value greater than or equal to 1, got 0; --oven: expected"),
    ],
)
def test_a_setting_that_is_refused_is_named_by_its_flag(music, flags, line):
    code, _, err = music("cook", *flags)
    assert code == 1
    assert line in err


def test_interrupt_exits_130(music):
    assert music("fail", "interrupt")[0] == 130


def test_bug_keeps_its_traceback(music):
    with pytest.raises(RuntimeError, match="a bug"):
        music("fail", "bug")


def config(tmp_path, text):
    path = tmp_path / "run.toml"
    path.write_text(text)
    return path


def test_config_sets_flags_and_arguments(music, tmp_path):
    path = config(tmp_path, 'files = ["a", "b"]\nnum-pairs = 3\nrate = 1\ntag = ["x", "y"]\ndry = true\njson = true\n')
    expected = {"files": ["a", "b"], "num_pairs": 3, "rate": 1.0, "tag": ["x", "y"], "dry": True}
    assert result(music("count", "--config", path)) == expected


def test_a_table_of_a_repeatable_flag_is_its_keys_and_values(music, tmp_path):
    path = config(tmp_path, 'files = "a"\n[tag]\nx = 1.5\ny = "plain"\n[tag.z]\ninner = [1, "two"]\n')
    got = result(music("count", "--json", "--config", path))
    assert got["tag"] == ["x=1.5", "y=plain", 'z={"inner":[1,"two"]}']


def test_command_line_wins_over_config(music, tmp_path):
    path = config(tmp_path, 'files = "a"\nnum_pairs = 3\ndry = true\n')
    got = result(music("count", "--num-pairs", 5, "b", "--no-dry", "--config", path, "--json"))
    assert (got["files"], got["num_pairs"], got["dry"]) == (["b"], 5, False)


def test_config_reaches_a_subcommand(music, tmp_path):
    assert result(music("group", "only", "--config", config(tmp_path, "port = 9"))) == {"port": 9}


def test_flag_required_by_the_command_may_come_from_config_only(music, tmp_path):
    code, _, err = music("count", "--config", config(tmp_path, "num-pairs = 3"))
    assert code == 2
    assert "files" in err


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("num-pear = 3", 1, "'num-pairs'"),
        ("config = 'x'", 1, "flags of this command"),
        ("num-pairs = [1, 2]", 1, "expected one value"),
        ("[count]\nnum-pairs = 1", 1, "nearest"),
        ("[rate]\nx = 1", 1, "got a table"),
        ("num-pairs = 2.5", 2, "num-pairs"),
        ("num-pairs 3", 1, "readable TOML"),
    ],
)
def test_bad_config_is_refused(music, tmp_path, text, code, words):
    got, _, err = music("count", "a", "--config", config(tmp_path, text))
    assert got == code
    assert words.replace("nearest", "did you mean") in err
    assert "Traceback" not in err


def test_real_help_lists_the_declared_commands_without_heavy_imports():
    heavy = ("torch", "transformers", "langgraph", "datasets", "pyarrow", "accelerate", "aiohttp")
    script = (
        "import sys\nfrom music.cli import main\n"
        "try: main(['--help'])\n"
        f"finally: print('heavy:', sorted(set(sys.modules) & set({heavy!r})))"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "heavy: []" in out
    assert all(point.name in out for point in entry_points(group=GROUP))


def test_runs_as_a_module_too():
    run = [sys.executable, "-m", "music", "--version"]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout.startswith("music-rm ")
