import json

import pytest

from music.cli import main


def run(*args: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["simulate", *args])
    return caught.value.code or 0


def test_the_sandbox_needs_nothing_but_a_directory(tmp_path, capsys):
    code = run(
        "sandbox", f"--out={tmp_path}", "--num-pairs=3", "--turns=2", "--strategy=instruction,drop_constraint", "--json"
    )
    assert code == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["status"], result["num_pairs"], result["usage"]["num_calls"]) == ("complete", 3, 24)
    assert result["settings"]["strategy"] == {"instruction": 1.0, "drop_constraint": 1.0}


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--strategy=no_such"], "expected contrasts out of instruction, drop_constraint"),
        (["--user=no endpoint"], "MODEL@BASE_URL"),
        (["--format=no_such"], "expected one of skywork"),
    ],
)
def test_what_a_user_can_mend_is_said_in_a_line(tmp_path, capsys, flags, told):
    seeds = tmp_path / "seeds.jsonl"
    seeds.write_text('{"prompt": "Hi", "chosen": "Hello.", "rejected": "Go."}\n')
    assert run(str(seeds), f"--out={tmp_path / 'out'}", *flags) == 1
    message = capsys.readouterr().err
    assert told in message
    assert "Traceback" not in message
    assert not list(tmp_path.glob("out/*.parquet"))


def test_strict_refuses_a_row_that_cannot_be_used(tmp_path, capsys):
    seeds = tmp_path / "seeds.jsonl"
    row = '{"prompt": "Hi", "chosen": "Hello.", "rejected": "Go."}\n'
    seeds.write_text(row + '{"prompt": "Hi", "chosen": "", "rejected": "Go."}\n')
    flags = [f"--out={tmp_path / 'out'}", "--num-pairs=2", "--turns=1"]
    assert run(str(seeds), *flags, "--strict") == 1
    assert run(str(seeds), *flags) == 0
    assert "1 of 2 rows dropped" in capsys.readouterr().err
