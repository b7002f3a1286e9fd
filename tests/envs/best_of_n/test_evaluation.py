import re
from pathlib import Path

import pytest

from music.errors import InvalidInputError
from music_envs import BestOfNConfig, BestOfNEvaluationConfig, evaluate_best_of_n

SMALL = {"num_conversations": 4, "sizes": BestOfNConfig(num_candidates=3, num_turns=2)}

PAGE = (Path(__file__).parents[3] / "docs" / "best-of-n.md").read_text(encoding="utf-8")


def test_the_code_of_the_page_runs(capsys):
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(block, {})
    assert "win rate" in capsys.readouterr().out


async def test_an_evaluation_is_one_call_with_one_config(tmp_path, capsys):
    notes = []
    config = BestOfNEvaluationConfig(reward="oracle", baseline="length", out=tmp_path / "new" / "out", **SMALL)
    result = await evaluate_best_of_n(config, note=notes.append)
    assert ([arm.selector for arm in result.arms], result.judge) == (["oracle", "length"], "oracle")
    assert [row.num_candidates for row in result.arms[0].by_n] == [1, 2, 3]
    assert result.comparison.difference.value > 0
    assert result.files == {arm: str(config.out / f"{arm}.jsonl") for arm in ("reward", "baseline")}
    assert all((config.out / f"{arm}.jsonl").read_text().count("\n") == 4 for arm in result.files)
    assert notes == ["selector oracle", "selector length"]
    assert capsys.readouterr() == ("", "")


async def test_it_is_the_same_for_the_same_seed_and_writes_nothing_without_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = BestOfNEvaluationConfig(reward="length", mode="anytime", margin=9.0, temperature=0.5, **SMALL)
    first, second = [await evaluate_best_of_n(config) for _ in range(2)]
    assert first == second
    assert (first.files, first.comparison, first.arms[0].by_n, first.strategy.margin) == (None, None, (), 9.0)
    assert list(tmp_path.iterdir()) == []


async def test_what_does_not_fit_is_refused_before_anything_is_loaded(tmp_path):
    with pytest.raises(InvalidInputError, match="mode whole: expected no flags of other modes, got --width"):
        await evaluate_best_of_n(BestOfNEvaluationConfig(reward="length", mode="whole", width=2))
    with pytest.raises(InvalidInputError, match="expected --baseline too"):
        await evaluate_best_of_n(BestOfNEvaluationConfig(reward="length", judge="judge:sandbox"))
    twice = BestOfNEvaluationConfig(reward="length", temperature=0.5)
    with pytest.raises(InvalidInputError, match="got both"):
        await evaluate_best_of_n(twice, options=["temperature=1"])
