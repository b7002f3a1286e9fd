"""The page on RL loops: every snippet runs as it stands, where its library is installed; and so does the example."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "rl-adapters.md").read_text(encoding="utf-8")
SNIPPETS = [
    pytest.param(library, snippet, id=f"{library}-{number}")
    for library, section in re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    for number, snippet in enumerate(re.findall(r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE))
]


@pytest.mark.parametrize(("library", "snippet"), SNIPPETS)
def test_the_snippet_runs(library, snippet, tmp_path, monkeypatch):
    if library in {"TRL", "verifiers", "TorchRL"} or "AgentExecutor" in snippet:
        pytest.importorskip(library.lower())
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, "rl-adapters.md", "exec"), {"__name__": "__main__"})


def test_every_library_of_the_table_has_a_section_with_a_snippet():
    named = re.findall(r"^\| \[(\w+)\]", PAGE, re.MULTILINE)
    assert len(named) == 5
    assert set(named) == {parameters.values[0] for parameters in SNIPPETS}


def test_the_example_runs_and_shows_a_conversation_for_each_step(tmp_path, monkeypatch, capsys):
    pytest.importorskip("trl")
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / "examples" / "grpo_chat.py"), run_name="__main__")
    assert capsys.readouterr().out.count("reward     ") == 2
