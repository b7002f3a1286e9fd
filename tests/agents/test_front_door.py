"""The front door of `music simulate`: who plays, what is loaded, what would be asked; all before the first call."""

import json

import pytest

from music.cli import main
from music.llm.spending.records import AccountSpending, Spending
from music.sandbox.server import ServerConfig, sandbox_server
from music_agents import SimulationConfig
from music_agents.cli.texts import describe_report
from music_agents.quality import read_saved_pairs
from music_agents.run import RunReport

PROMPTS = "".join(json.dumps({"prompt": f"Name {thing}."}) + "\n" for thing in ("a tree", "a bird", "a lake"))
TONE = """
from dataclasses import dataclass, replace

from music.pairs import TurnContrast
from music_agents.contrasts import register_contrast
from words_of_mine import TONE


@dataclass(frozen=True)
class ToneContrast:
    assistant: object

    async def __call__(self, view):
        *history, last = view.conversation.messages
        request = f"{last.content} {TONE}"
        said = await self.assistant(replace(view, conversation=view.conversation.prefix(len(history)).user(request)))
        record = TurnContrast(turn=view.turn, strategy="tone", modified_instruction=request)
        return replace(said, text=f"{said.text} So there.", contrast=record)


register_contrast("NAME", lambda cast: ToneContrast(cast.assistant))
"""


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text(PROMPTS)
    return str(path)


@pytest.fixture
def tone(tmp_path):
    """A maker of files that register a contrast, each under a name of its own, as the registry is the process's."""
    (tmp_path / "words_of_mine.py").write_text("TONE = 'Be curt.'\n")

    def make(name):
        path = tmp_path / f"{name}_contrast.py"
        path.write_text(TONE.replace("NAME", name))
        return path

    return make


@pytest.fixture(scope="module")
def url():
    with sandbox_server(ServerConfig()) as base_url:
        yield base_url


def simulate(*args):
    with pytest.raises(SystemExit) as caught:
        main(["simulate", *map(str, args)])
    return caught.value.code or 0


def test_real_seeds_without_an_assistant_are_refused_with_the_remedy(prompts, tmp_path, capsys):
    assert simulate(prompts, "--out", tmp_path / "run", "--user=sandbox") == 1
    told = capsys.readouterr().err
    assert "error: --assistant: expected an endpoint, got none for the seeds" in told
    assert "--assistant sandbox plays every role with the built-in toy world" in told
    assert not (tmp_path / "run").exists()


def test_the_assistants_endpoint_plays_every_role_that_has_none_and_the_cast_is_printed(prompts, tmp_path, capsys, url):
    out = tmp_path / "run"
    flags = ["--num-pairs=3", "--turns=2", f"--assistant=m@{url}", "--strategy=forget=3,instruction"]
    assert simulate(prompts, "--out", out, *flags) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[:6] == [
        "seeds      3 conversations from prompts.jsonl (prompt)",
        f"user       m at {url}",
        "assistant  as above",
        "contrast   as above",
        "contrasts  forget 75%, instruction 25%",
        "run        3 pairs, 2 turns of each side, seed 0",
    ]
    assert json.loads((out / "run.json").read_bytes())["endpoints"] == dict.fromkeys(
        ("user", "assistant", "contrast"), f"m@{url}"
    )
    firsts = {(p.num_seed_messages, p.chosen.messages[0].content) for p in read_saved_pairs(out)}
    assert firsts == {(0, json.loads(line)["prompt"]) for line in PROMPTS.splitlines()}


def test_as_json_the_cast_is_the_first_event(prompts, tmp_path, capsys):
    assert simulate(prompts, "--out", tmp_path, "--num-pairs=1", "--turns=1", "--assistant=sandbox:weak", "--json") == 0
    start, *_, end = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (start["event"], end["event"]) == ("start", "end")
    assert start["endpoints"] == dict.fromkeys(("user", "assistant", "contrast"), "sandbox:weak")
    assert start["seeds"] == "3 conversations from prompts.jsonl (prompt)"


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--strategy=instrction"], "got 'instrction'; did you mean 'instruction'?"),
        (["--assistant=sandbox:wek"], "a skill of perfect, good, fair, weak; did you mean 'weak'?"),
        (["--personas=sampeler"], "there is no such file; did you mean 'sampler'?"),
        (["--import=tone_contrat.py"], "nothing at tone_contrat.py; did you mean 'tone_contrast.py'?"),
        (["--assistant=local:./nope"], "./nope: there is no such folder; expected the folder of a model"),
        (["--option=judge.top_p=0.5"], "--option judge.top_p: expected --judge, too: nobody plays it"),
        (["--schedule=turns:9"], "schedule turns:9: expected a turn out of 1 to 5, got none of them"),
        (["--out=prompts.jsonl"], "prompts.jsonl: expected a folder to write to (--out), but that is a file"),
    ],
)
def test_a_slip_is_told_with_the_nearest_name(flags, told, prompts, tone, tmp_path, capsys, monkeypatch):
    tone("tone")
    monkeypatch.chdir(tmp_path)
    assert simulate(prompts, "--out=run", "--num-pairs=1", "--assistant=sandbox", *flags) == 1
    error = capsys.readouterr().err
    assert told in error
    assert "Traceback" not in error


@pytest.mark.parametrize("processes", [1, 2])
def test_a_contrast_of_ones_own_works_from_the_command_line(processes, prompts, tone, tmp_path, capsys):
    name, out = f"tone{processes}", tmp_path / "run"
    code = tone(name)
    command = [prompts, "--out", out, "--num-pairs=2", "--turns=1", "--assistant=sandbox", f"--strategy={name}"]
    assert simulate(*command, f"--import={code}", f"--processes={processes}") == 0
    pairs = list(read_saved_pairs(out))
    assert len(pairs) == 2
    assert all(p.rejected.messages[-1].content.endswith("So there.") for p in pairs)
    settings = json.loads((out / "run.json").read_bytes())["settings"]
    assert settings["imports"][code.stem].startswith("digest ")
    code.write_text(code.read_text() + "# changed\n")
    capsys.readouterr()
    assert simulate(*command[:4], "--num-pairs=3", *command[4:], f"--import={code}") == 1
    assert f"imports.{code.stem}: " in capsys.readouterr().err


def test_defects_take_a_contrast_of_ones_own(tone, tmp_path):
    talk = tmp_path / "talk.jsonl"
    messages = [{"role": "user", "content": "Hi there"}, {"role": "assistant", "content": "Hello to you, too."}]
    talk.write_text(json.dumps({"messages": messages}) + "\n")
    flags = ["--contrast=sandbox", "--num-pairs=1", "--strategy=tone_d", f"--import={tone('tone_d')}"]
    with pytest.raises(SystemExit) as caught:
        main(["defects", str(talk), f"--out={tmp_path / 'run'}", *flags])
    assert not caught.value.code
    (pair,) = read_saved_pairs(tmp_path / "run")
    assert pair.rejected.messages[-1].content.endswith("So there.")


GRAPH = """
from dataclasses import replace

from music_agents import build_pair_graph


def build(roles):
    async def critic(view):
        notes = {}
        return notes["missing"]

    return build_pair_graph(replace(roles, assistant=critic))
"""


def test_workers_in_another_folder_find_what_the_job_names(prompts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "users.jsonl").write_text('"A gardener."\n')
    (tmp_path / "g_located.py").write_text("def build(roles): ...\n")
    (tmp_path / "c_located.py").touch()
    files = {"graph": "g_located.py:build", "imports": ("c_located.py", "json")}
    config = SimulationConfig(seeds="prompts.jsonl", personas="users.jsonl", **files).located()
    assert (config.seeds, config.personas) == (prompts, str(tmp_path / "users.jsonl"))
    assert (config.graph, config.imports) == (f"{tmp_path}/g_located.py:build", (f"{tmp_path}/c_located.py", "json"))
    (tmp_path / "sandbox").mkdir()
    words = {"seeds": "sandbox", "personas": "sandbox", "graph": "json:loads"}
    assert SimulationConfig(**words).located() == SimulationConfig(**words)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_graph_that_raises_shows_its_own_line_alone(processes, prompts, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"raising_{processes}.py").write_text(GRAPH)
    flags = ["--num-pairs=2", "--turns=1", "--assistant=sandbox", f"--processes={processes}"]
    assert simulate(prompts, "--out=run", *flags, f"--graph=raising_{processes}.py:build") == 1
    told = capsys.readouterr().err
    assert f"raising_{processes}.py, line 10, in critic: KeyError: 'missing'\n    return notes[\"missing\"]" in told
    assert "Traceback" not in told
    assert "langgraph" not in told


def test_a_dry_run_shows_prompts_and_cost_and_sends_nothing(prompts, tmp_path, capsys):
    nowhere = "m@http://127.0.0.1:9/v1"  # nothing is asked there
    flags = ["--num-pairs=1000", "--turns=2", f"--assistant={nowhere}", f"--judge={nowhere}", "--price=m=1:10"]
    command = [prompts, "--out", tmp_path / "run", *flags, "--strategy=instruction", "--dry-run"]
    assert simulate(*command) == 0
    text = capsys.readouterr().out
    assert f"--- to {nowhere} as the assistant, chosen side, turn 1 ---\n[user]\nName a" in text
    assert "as the contrast, rejected side, turn 1 ---\n[user]\nBelow is the user's latest message." in text
    assert "[assistant, turn 1]" in text
    assert "nothing was sent" in text
    assert not (tmp_path / "run").exists()
    assert simulate(*command, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    # Two turns: assistant and contrast in both, the users of the second one, and the judge twice.
    assert result["num_calls"] in range(7000, 8001)
    assert result["cost"] == pytest.approx(
        1e-6 * result["prompt_tokens"] + 1e-5 * result["completion_tokens"], rel=0.01
    )
    assert result["completion_tokens"] > 1000 * 4 * 100
    assert simulate(*command, "--json", "--max-reply-tokens=10") == 0
    assert json.loads(capsys.readouterr().out)["completion_tokens"] < result["completion_tokens"] / 2


def test_a_dry_run_of_every_contrast_needs_no_model(tmp_path, capsys):
    names = (
        "instruction",
        "instruction_two_call",
        "drop_constraint",
        "persona_swap",
        "contradict",
        "ignore_correction",
        "lose_goal",
        "forget",
        "stale",
        "weaker_model",
    )
    flags = ["--assistant=local:not/there", "--weaker=local:not/there", "--shared-script", "--personas=sandbox"]
    assert simulate("sandbox", "--out", tmp_path, *flags, f"--strategy={','.join(names)}", "--dry-run", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["failed"], result["cost"]) == ("", 0.0)


def test_rows_of_no_known_shape_are_told_with_the_shapes_of_prompts_too(tmp_path, capsys):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"foo": 1}\n')
    assert simulate(path, "--out", tmp_path / "run", "--assistant=sandbox") == 1
    error = capsys.readouterr().err
    assert "expected rows of preferences, conversations or prompts, got columns foo (int)" in error
    assert "oasst, messages, conversations, prompt, exchanges (docs" in error


def test_a_contrast_that_lacks_its_model_is_found_before_anything_is_asked(prompts, tmp_path, capsys):
    nobody = "m@http://127.0.0.1:9/v1"
    assert simulate(prompts, "--out", tmp_path, f"--assistant={nobody}", "--strategy=weaker_model") == 1
    assert "expected a model for the role 'weaker', got none: name its endpoint (--weaker)" in capsys.readouterr().err


def test_replies_without_usage_are_reported(tmp_path):
    spent = AccountSpending(
        account="user", model="m", num_calls=9, prompt_tokens=8, completion_tokens=1, cost=None, num_uncounted=4
    )
    report = RunReport.model_construct(
        status="complete", num_pairs=1, num_wanted=1, failures={}, replies={}, wall_seconds=1.0, diagnostics=None,
        spending=Spending(accounts=(spent,)),
    )  # fmt: skip
    told = describe_report(tmp_path, report).splitlines()
    assert told[2] == "not among these tokens: 4 replies for which the endpoint reported no usage"


def test_a_check_keeps_to_the_budget(prompts, tmp_path, capsys, url):
    flags = [f"--assistant=m@{url}", "--price=m=100:1000", "--max-cost=0.02", "--max-in-flight=1", "--check"]
    assert simulate(prompts, "--out", tmp_path / "run", *flags) == 3
    printed = capsys.readouterr()
    assert "stopped: 0.0" in printed.err
    assert "USD are spent of --max-cost 0.02" in printed.err
    assert printed.out == ""


def test_a_check_of_the_sandbox_finds_that_it_can_work(tmp_path, capsys):
    assert simulate("sandbox", "--out", tmp_path / "run", "--turns=3", "--check", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["share_kept"] > 0.9
    assert result["contrasts"]["instruction"]["num_asked"] == 16
    assert not (tmp_path / "run").exists()
