"""Code of the user's own: what may be loaded, from where, and how its faults are worded."""

import sys

import pytest

from music.errors import InvalidInputError
from music.user_code import UserCodeError, describe_fault, digest_code, import_code, load_object, user_faults


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(tmp_path, **files):
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text)


def test_a_file_may_import_its_neighbours_and_define_dataclasses(tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    write(
        folder,
        first_of_mine="from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "from beside_it import WORD\n\n@dataclass\nclass Thing:\n    word: str = WORD\n\n"
        "def lazily():\n    from lazily_beside import WORD\n    return WORD\n",
        beside_it="WORD = 'beside'\n",
        lazily_beside="WORD = 'late'\n",
    )
    assert load_object(f"{folder}/first_of_mine.py:Thing")().word == "beside"
    assert load_object(f"{folder}/first_of_mine.py:lazily")() == "late"
    assert sys.path[0] != str(folder)


def test_a_file_is_imported_once_and_takes_no_name_that_is_taken(tmp_path):
    write(tmp_path, json="COUNT = []\n")
    module = import_code("json.py")
    assert module is import_code("json.py")
    assert module.__name__ == "json_"
    assert hasattr(sys.modules["json"], "dumps")


def test_a_digest_follows_the_file(tmp_path):
    write(tmp_path, digested_code="X = 1\n")
    (before,) = digest_code(["digested_code.py"]).items()
    assert before[0] == "digested_code"
    write(tmp_path, digested_code="X = 2\n")
    assert digest_code(["digested_code.py"])["digested_code"] != before[1]


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("ghraph_code.py:build", "nothing at ghraph_code.py; did you mean 'graph_code.py'"),
        ("graph_code.py:biuld", "expected a name in graph_code.py, got 'biuld'; did you mean 'build'"),
        ("graph_code:build", "got 'graph_code'; did you mean 'graph_code.py'"),
        ("no/such/folder/x.py:build", "expected a Python file, found nothing at no/such/folder/x.py"),
        ("graph_code.py", "expected FILE.py:FUNCTION or MODULE:FUNCTION, got 'graph_code.py'"),
    ],
)
def test_a_slip_is_told_with_the_nearest_name(spec, told, tmp_path):
    write(tmp_path, graph_code="def build():\n    pass\n")
    with pytest.raises(InvalidInputError) as info:
        load_object(spec)
    assert told in str(info.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = 1\ny = undefined_name\n", "line 2: NameError: name 'undefined_name' is not defined\n    y = undefined"),
        ("def f(:\n", "line 1: SyntaxError: invalid syntax\n    def f(:"),
        ("import no_such_module_at_all\n", "line 1: ModuleNotFoundError: No module named 'no_such_module_at_all'"),
    ],
)
def test_what_fails_while_a_file_is_imported_is_told_by_its_line(text, told, tmp_path):
    write(tmp_path, failing_code=text)
    with pytest.raises(UserCodeError) as info:
        import_code("failing_code.py")
    assert str(info.value).startswith("cannot be imported: failing_code.py, ")
    assert told in str(info.value)


def test_a_fault_is_told_by_the_users_last_frame_and_not_by_ours(tmp_path):
    write(
        tmp_path,
        faulty_code="from music.conversation import Conversation\n\ndef build():\n    return help_out()\n\n"
        "def help_out():\n    return Conversation().user(' ')\n",
    )
    build = load_object("faulty_code.py:build")
    with pytest.raises(UserCodeError) as info, user_faults():
        build()
    first, second = str(info.value).split("\n")[0], str(info.value).split("\n")[-1]
    assert first.startswith("faulty_code.py, line 7, in help_out: ValidationError: ")
    assert second == "    return Conversation().user(' ')"


def test_an_error_that_is_not_the_users_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError) as info, user_faults():
        1 / 0  # noqa: B018
    assert describe_fault(info.value) is None
