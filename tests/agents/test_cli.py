import json

import pytest

from music.cli import main
from music.sandbox.server import ServerConfig, sandbox_server
from music_agents.quality import read_saved_pairs


def run(*args: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["simulate", *args])
    return caught.value.code or 0


def test_the_sandbox_needs_nothing_but_a_directory(tmp_path, capsys):
    code = run(
        "sandbox", f"--out={tmp_path}", "--num-pairs=3", "--turns=2", "--strategy=instruction,drop_constraint", "--json"
    )
    assert code == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    events = [json.loads(line) for line in printed.err.splitlines()]
    assert (events[-1]["event"], events[-1]["num_pairs"], events[-1]["num_calls"]) == ("end", 3, 21)
    assert (result["status"], result["num_pairs"], result["spending"]["num_calls"]) == ("complete", 3, 21)
    assert result["settings"]["strategy"] == {"instruction": 1.0, "drop_constraint": 1.0}


def test_what_an_earlier_run_paid_for_is_free_with_a_cache(tmp_path, capsys):
    common = ["--num-pairs=3", "--turns=2", f"--cache={tmp_path / 'cache.sqlite'}", "--json"]
    spent = {}
    for name, strategy in (("first", "instruction"), ("again", "instruction"), ("mixed", "drop_constraint")):
        assert run("sandbox", f"--out={tmp_path / name}", *common, f"--strategy={strategy}") == 0
        spent[name] = json.loads(capsys.readouterr().out)["spending"]
    rows = {name: sum(row["num_reused"] for row in spending["accounts"]) for name, spending in spent.items()}
    assert rows["first"] + spent["first"]["num_calls"] == 21
    assert (spent["again"]["num_calls"], spent["again"]["num_tokens"], rows["again"]) == (0, 0, 21)
    assert 0 < spent["mixed"]["num_calls"] < 21
    assert 0 < rows["mixed"] < 21


def test_nodes_of_a_cluster_cannot_share_a_cache(tmp_path, capsys):
    assert run("sandbox", f"--out={tmp_path}", f"--cache={tmp_path / 'c'}", "--ray=local") == 1
    assert "leave --cache out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--strategy=no_such"], "expected contrasts out of instruction, instruction_two_call, drop_constraint"),
        (["--schedule=never"], "expected all, first, last, turns:1,3"),
        (["--user=no endpoint"], "MODEL@BASE_URL"),
        (["--personas=no_such"], "there is no such file"),
        (["--graph=no_such.py:build"], "expected a Python file, found nothing at no_such.py"),
        (["--price=m=1"], "USD per million tokens"),
        (["--max-cost=1", "--user=m@http://127.0.0.1:9/v1"], "--price 'm=PROMPT:COMPLETION'"),
        (["--format=no_such"], "expected one of skywork"),
    ],
)
def test_what_a_user_can_mend_is_said_in_a_line(tmp_path, capsys, flags, told):
    seeds = tmp_path / "seeds.jsonl"
    seeds.write_text('{"prompt": "Hi", "chosen": "Hello.", "rejected": "Go."}\n')
    assert run(str(seeds), f"--out={tmp_path / 'out'}", "--assistant=sandbox", *flags) == 1
    message = capsys.readouterr().err
    assert told in message
    assert "Traceback" not in message
    assert not list(tmp_path.glob("out/*.parquet"))


def test_strict_refuses_a_row_that_cannot_be_used(tmp_path, capsys):
    seeds = tmp_path / "seeds.jsonl"
    row = '{"prompt": "Hi", "chosen": "Hello.", "rejected": "Go."}\n'
    seeds.write_text(row + '{"prompt": "Hi", "chosen": "", "rejected": "Go."}\n')
    flags = [f"--out={tmp_path / 'out'}", "--num-pairs=2", "--turns=1", "--assistant=sandbox"]
    assert run(str(seeds), *flags, "--strict") == 1
    assert run(str(seeds), *flags) == 0
    assert "1 of 2 rows dropped" in capsys.readouterr().err


@pytest.fixture(scope="module")
def url():
    with sandbox_server(ServerConfig()) as base_url:
        yield base_url


def test_a_budget_stops_the_command_with_a_code_of_its_own_and_a_higher_one_goes_on(tmp_path, capsys, url):
    everyone = [f"--{role}=m@{url}" for role in ("user", "assistant", "contrast", "judge")]
    command = ["sandbox", f"--out={tmp_path}", "--num-pairs=6", "--turns=2", "--max-in-flight=2", *everyone]
    prices = ["--price=m=100:1000"]
    assert run(*command, *prices, "--max-cost=0.5") == 3
    printed = capsys.readouterr()
    assert printed.out.startswith("budget: ")
    assert "USD are spent of --max-cost 0.50); to resume, raise the budget" in printed.err
    spent = json.loads((tmp_path / "run.json").read_bytes())["spending"]
    dearest = max(row["cost"] / row["num_calls"] for row in spent["accounts"])
    assert 0.5 <= spent["cost"] < 0.5 + 10 * dearest
    assert run(*command, *prices, "--max-cost=0.5", "--json") == 3
    printed = capsys.readouterr()
    assert json.loads(printed.out)["spending"]["num_calls"] == spent["num_calls"]
    assert [json.loads(line)["stop_reason"] for line in printed.err.splitlines()[1:]] == ["budget"]
    assert run(*command, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["status"], result["num_pairs"]) == ("complete", 6)
    assert result["judge"]["num_confirmed"] + result["judge"]["num_undecided"] == 6
    assert set(result["endpoints"]) == set(result["settings"]["models"]) == {"user", "assistant", "contrast", "judge"}


GRAPH = """
from dataclasses import replace

from music_agents import ask, build_pair_graph


def build(roles):
    async def critic(view):
        draft = await roles.assistant(view)
        prompt = view.conversation.messages
        sampling = roles.sampling_of("assistant")
        better = await ask(roles.models["assistant"], view, prompt, sampling, str.strip, step="critic/")
        return replace(draft, text="Well: " + better.content, usage=draft.usage + better.usage)

    return build_pair_graph(replace(roles, assistant=critic))
"""


def test_a_graph_of_ones_own_is_journaled_counted_and_part_of_the_settings(tmp_path, capsys):
    file = tmp_path / "my_graph.py"
    file.write_text(GRAPH)
    command = ["sandbox", f"--out={tmp_path / 'run'}", "--num-pairs=3", "--turns=2", "--json"]
    assert run(*command, f"--graph={file}:build") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["spending"]["num_calls"] == 3 * (2 * 5 - 1)
    for pair in read_saved_pairs(tmp_path / "run"):
        assert all(
            message.content.startswith("Well: ") for message in pair.chosen.messages[pair.num_seed_messages + 1 :: 2]
        )
        assert pair.usage.num_calls == 9
    assert run(*command, f"--graph={file}:build") == 0
    assert json.loads(capsys.readouterr().out)["spending"]["num_calls"] == 27
    file.write_text(GRAPH.replace("Well: ", "So: "))
    assert run(*command, f"--graph={file}:build") == 1
    assert "graph: " in capsys.readouterr().err
    assert run(*command, f"--graph={file}:no_such") == 1
    assert "expected a name in" in capsys.readouterr().err


def test_failed_pairs_are_tried_again_on_request(tmp_path, capsys, url):
    command = ["sandbox", f"--out={tmp_path}", "--num-pairs=2", "--turns=1", f"--user=m@{url}"]
    assert run(*command) == 0
    assert run(*command, "--retry-failed") == 0
    assert "already complete" in capsys.readouterr().err
