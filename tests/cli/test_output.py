import json
import math
from pathlib import Path

import numpy as np
import pytest
from rich.table import Table

from music import Message, StopReason
from music.cli import console, emit


def test_json_takes_what_results_are_made_of(capsys):
    result = {
        "path": Path("runs/a"),
        "message": Message(role="user", content="Hi ☂"),
        "stop": StopReason.TURN_LIMIT,
        "accuracy": np.float32(0.5),
        "by_turn": {1: math.nan},
    }
    emit(result, as_json=True)
    out = capsys.readouterr().out
    assert out.endswith("\n")
    assert json.loads(out) == {
        "path": "runs/a",
        "message": {"role": "user", "content": "Hi ☂"},
        "stop": "turn_limit",
        "accuracy": 0.5,
        "by_turn": {"1": None},
    }


def test_value_without_json_is_an_error_not_a_guess():
    with pytest.raises(TypeError):
        emit({"x": object()}, as_json=True)


def test_people_see_the_text_given_and_json_readers_do_not(capsys):
    table = Table("turn", "accuracy")
    table.add_row("1", "0.75")
    emit({"accuracy": 0.75}, as_json=False, text=table)
    assert "accuracy" in capsys.readouterr().out
    emit({"accuracy": 0.75}, as_json=True, text=table)
    assert capsys.readouterr().out == '{"accuracy":0.75}\n'


def test_console_keeps_off_stdout(capsys):
    console.print("progress")
    assert capsys.readouterr() == ("", "progress\n")
