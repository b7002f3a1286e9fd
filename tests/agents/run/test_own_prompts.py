"""Prompts of one's own in a run: taken from files, kept to by every session, refused at once."""

import json
import re
from pathlib import Path

import pytest

from music.cli import main
from music.llm.journal import ChangedSettingsError
from music_agents.personas import Persona
from music_agents.personas.sources import ListedPersonas
from music_agents.run_config import OwnPrompt

DOCS = Path(__file__).parents[3] / "docs" / "prompts.md"
CURT = "{% extends base %}{% block task %}Write a modified instruction, and answer it curtly.{% endblock %}"


def run_command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["simulate", "sandbox", *map(str, arguments)])
    return caught.value.code or 0


async def test_the_models_see_the_prompts_and_the_run_holds_to_them(tmp_path, fake_model, seeds, run):
    model = fake_model()
    own = {"contrast_prompt": OwnPrompt(name="curt", source=CURT), "contrast_format": "json"}
    await run(tmp_path, seeds, model, num_pairs=2, **own)
    prompts = [request.messages[-1].content for request in model.requests if request.json_schema]
    assert len(prompts) == 4
    assert all("curtly. Answer with one JSON object" in prompt for prompt in prompts)
    written = json.loads((tmp_path / "run.json").read_bytes())["settings"]
    assert re.fullmatch(r"digest [0-9a-f]{8}", written["contrast_prompt"])
    assert (written["contrast_format"], written["user_prompt"]) == ("json", "")
    again = await run(
        tmp_path, seeds, model, num_pairs=2, **own | {"contrast_prompt": OwnPrompt(name="x", source=CURT)}
    )
    assert again.status == "complete"  # the file's name does not matter
    with pytest.raises(ChangedSettingsError, match="contrast_prompt"):
        await run(tmp_path, seeds, model, num_pairs=2, contrast_format="json")
    with pytest.raises(ChangedSettingsError, match="contrast_format"):
        await run(tmp_path, seeds, model, num_pairs=2, **own | {"contrast_format": "tags"})


async def test_users_with_personas_need_a_prompt_that_shows_them(tmp_path, fake_model, seeds, run):
    prompt = OwnPrompt(name="mine", source="Write the next message.")
    with pytest.raises(ValueError, match=r"mine: expected it to show {{ persona }}"):
        await run(tmp_path, seeds, fake_model(), user_prompt=prompt, personas=ListedPersonas((Persona.of("A cook."),)))


async def test_instructions_of_ones_own_reach_the_user(tmp_path, fake_model, seeds, run):
    model = fake_model()
    source = "{% extends base %}{% block task %}Be short.{% endblock %}"
    await run(tmp_path, seeds, model, num_pairs=1, num_turns=1, user_prompt=OwnPrompt(name="mine", source=source))
    assert [r.messages[0].content.endswith("\n\nBe short.") for r in model.requests] == [True, False, False]


def test_the_command_reads_files_and_workers_have_them_too(tmp_path, capsys):
    contrast, user = tmp_path / "contrast.jinja", tmp_path / "user.jinja"
    contrast.write_text(CURT)
    user.write_text("{% extends base %}")
    flags = [f"--contrast-prompt={contrast}", f"--user-prompt={user}", "--contrast-format=json"]
    flags += ["--num-pairs=4", "--turns=2", "--json"]
    assert run_command(f"--out={tmp_path / 'a'}", *flags) == 0
    assert run_command(f"--out={tmp_path / 'b'}", *flags, "--processes=2") == 0
    assert [json.loads(line)["num_pairs"] for line in capsys.readouterr().out.splitlines()] == [4, 4]
    contrast.write_text(CURT.replace("curtly", "rudely"))
    assert run_command(f"--out={tmp_path / 'a'}", *flags) == 1
    assert "contrast_prompt: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "text", "told"),
    [
        ("--contrast-prompt", "{{ message }}\n{{ format }}\n{{ nope }}", "'nope' is undefined (line 3)"),
        ("--contrast-prompt", "{{ format }}", "expected it to show {{ message }}"),
        ("--user-prompt", "{% block %}", "expected a jinja2 template"),
        ("--user-prompt", None, "expected a readable text file"),
    ],
)
def test_a_file_that_cannot_serve_is_refused_before_anything_is_asked(tmp_path, capsys, flag, text, told):
    file = tmp_path / "mine.jinja"
    if text is not None:
        file.write_text(text)
    assert run_command(f"--out={tmp_path / 'run'}", "--num-pairs=1", f"{flag}={file}") == 1
    printed = capsys.readouterr().err
    assert str(file) in printed
    assert told in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "run").exists()


def test_a_prompt_for_contrasts_that_are_not_in_the_mixture_is_refused(tmp_path, capsys):
    file = tmp_path / "mine.jinja"
    file.write_text(CURT)
    assert run_command(f"--out={tmp_path / 'run'}", f"--contrast-prompt={file}", "--strategy=forget") == 1
    assert "expected one of the contrasts instruction, drop_constraint, persona_swap" in capsys.readouterr().err


def test_the_examples_of_the_docs_serve(tmp_path):
    examples = re.findall(r"```jinja\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) == 3
    for flag, text in zip(["--contrast-prompt", "--contrast-prompt", "--user-prompt"], examples, strict=True):
        file = tmp_path / f"{abs(hash(text))}.jinja"
        file.write_text(text)
        flags = [f"--out={file.with_suffix('')}", "--num-pairs=2", "--turns=1", "--no-gates", f"{flag}={file}"]
        assert (run_command(*flags) == 0) == ("extends base" in text)  # the sandbox knows its own prompts alone
