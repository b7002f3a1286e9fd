"""The page on quality keeps its word: its code runs, and its example of a gate is one."""

import re
from pathlib import Path

from music_agents.failures import FailureReason
from music_agents.quality import GateView

PAGE = (Path(__file__).parents[3] / "docs" / "quality.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


async def test_the_gate_of_ones_own_is_short_and_works(make_pair):
    scope = {}
    exec(BLOCKS[0], scope)
    assert len(BLOCKS[0].splitlines()) < 20
    gate, view = scope["gates"][-1], GateView(pair=0, run_seed=0)
    assert (await gate(make_pair(["a"], ["b"]), view)).reason is None
    verdict = await gate(make_pair(["a", "x:\n- a"], ["b", "c"]), view)
    assert (verdict.reason, verdict.detail) == (FailureReason.GATE_FORMAT, "a list on one side of turn 2")


def test_the_judges_can_be_made():
    scope = {}
    exec(BLOCKS[1], scope)
    assert scope["by_model"].share == 0.2


def test_the_code_for_diagnostics_runs(tmp_path, monkeypatch, capsys):
    (tmp_path / "runs" / "a").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    exec(BLOCKS[2], {})
    assert "0 kept, 0 dropped" in capsys.readouterr().out
