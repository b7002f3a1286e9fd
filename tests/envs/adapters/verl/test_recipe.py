"""The example for verl, as far as a CPU allows: its settings, its prompts and its loop, with verl's own code."""

import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from music.sandbox.artifacts import BACKBONE

FOLDER = Path(__file__).parents[4] / "examples" / "verl"
SERVERS = {
    "Qwen/Qwen2.5-7B-Instruct@http://127.0.0.1:8000/v1": "sandbox",
    "rm@http://127.0.0.1:8300": "oracle",
}


@pytest.fixture
def settings():
    """The settings in `train.sh`."""
    text = (FOLDER / "train.sh").read_text(encoding="utf-8").replace("\\\n", " ")
    command = re.search(r"^python -m verl\.trainer\.main_ppo (.*)$", text, re.MULTILINE)[1]
    return shlex.split(command.replace("$POLICY", str(BACKBONE)))


def test_the_page_shows_what_the_recipe_has(settings):
    page = (FOLDER.parents[1] / "docs" / "rl-adapters.md").read_text(encoding="utf-8").partition("## verl")[2]
    (shown,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert (FOLDER / "agent_loop.yaml").read_text(encoding="utf-8").endswith(shown)
    of_loop, _ = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    assert set(of_loop.split()) <= set(settings)


async def test_the_recipe_is_what_verl_takes_and_plays(settings, verl, compose, play, tmp_path, monkeypatch):
    prompts = tmp_path / "prompts.parquet"
    monkeypatch.setattr(sys, "argv", ["prompts.py", str(prompts)])
    runpy.run_path(str(FOLDER / "prompts.py"), run_name="__main__")
    loop = (FOLDER / "agent_loop.yaml").read_text(encoding="utf-8")
    for named, local in SERVERS.items():
        assert named in loop
        loop = loop.replace(named, local)
    (tmp_path / "agent_loop.yaml").write_text(loop, encoding="utf-8")

    config = compose(*[setting.replace("examples/verl/", f"{tmp_path}/") for setting in settings])
    verl("utils.config").validate_config(config=config, use_reference_policy=True, use_critic=False)
    verl("utils.config").omega_conf_to_dataclass(config.actor_rollout_ref.model)
    assert verl("trainer.ppo.core_algos").get_adv_estimator_fn(config.algorithm.adv_estimator)
    assert not verl("trainer.ppo.utils").need_critic(config)

    tokenizer = AutoTokenizer.from_pretrained(BACKBONE)
    row = verl("utils.dataset.rl_dataset").RLHFDataset(str(prompts), tokenizer, config.data)[1]
    row = {name: value for name, value in row.items() if name != "dummy_tensor"}
    replies = ["Certainly. Start small.", "Keep it simple.", "Anything else?"]
    done = await play(config, row, [replies] * config.actor_rollout_ref.rollout.n)
    assert (done.status, len(done.rows)) == ("finished", 8)
    fields = done.rows[0]["extra_fields"]
    assert [message["content"] for message in fields["messages"][-5::2]] == replies
    assert sum(done.rows[0]["rm_scores"]) == pytest.approx(sum(fields["turn_rewards"]), abs=1e-5)
    assert len(fields["turn_rewards"]) == 3
