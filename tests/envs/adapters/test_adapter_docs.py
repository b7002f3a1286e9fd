"""The page on RL loops: every snippet runs as it stands; and so does the example."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "rl-adapters.md").read_text(encoding="utf-8")
SNIPPETS = {
    library: re.findall(r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    for library, section in re.findall(r"^## ([\w ]+)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
}
ADDRESS = "http://localhost:8000"
BESIDE = {"NeMo Gym": "app.py", "SkyRL": "my_chat.py", "Tinker": "my_chat.py", "verifiers": "my_chat.py"}
"""Libraries that need a process of their own, with the name of the file that their first snippet is in."""


@pytest.fixture(scope="module")
def address(serving, tmp_path_factory):
    """The address of the app in the page's `server.py`."""
    file = tmp_path_factory.mktemp("openenv") / "server.py"
    file.write_text(SNIPPETS["OpenEnv"][0], encoding="utf-8")
    with serving(file) as url:
        yield url


@pytest.mark.parametrize(
    ("library", "number"),
    [
        pytest.param(library, number, id=f"{library}-{number}")
        for library, snippets in SNIPPETS.items()
        for number in range(len(snippets))
        if library not in BESIDE or number == len(snippets) - 1  # the last one imports the first
    ],
)
def test_the_snippet_runs(library, number, gpu_only, tmp_path, monkeypatch, request):
    snippet = SNIPPETS[library][number]
    if library in BESIDE:
        (tmp_path / BESIDE[library]).write_text(SNIPPETS[library][0], encoding="utf-8")
        (tmp_path / "snippet.py").write_text(snippet, encoding="utf-8")
        request.getfixturevalue("run_beside")(library.lower().replace(" ", "_"), tmp_path / "snippet.py", cwd=tmp_path)
        return
    if ADDRESS in snippet:
        snippet = snippet.replace(ADDRESS, request.getfixturevalue("address"))
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, "rl-adapters.md", "exec"), {"__name__": "__main__"})


def test_every_library_of_the_table_has_a_section_with_a_snippet():
    named = re.findall(r"^\| \[([\w ]+)\]", PAGE, re.MULTILINE)
    assert len(named) == 9
    assert set(named) == {library for library, snippets in SNIPPETS.items() if snippets}


def test_the_example_runs_and_shows_the_reward_of_each_reply_of_a_conversation_for_each_step(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / "examples" / "grpo_chat.py"), run_name="__main__")
    shown = re.findall(r"^(user|assistant) +([+-]\d\.\d\d)?  ", capsys.readouterr().out, re.MULTILINE)
    turns = [(role, bool(reward)) for role, reward in shown]
    assert turns[:2] == [("user", False), ("assistant", True)]
    assert len(turns) >= 4
    assert set(turns) == {("user", False), ("assistant", True)}
