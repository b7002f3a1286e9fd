"""The example for OpenRLHF, as far as a CPU allows: its flags, its prompts and its agent, with OpenRLHF's own code."""

import json
import re
import runpy
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray
from ray._common.utils import load_class
from transformers import AutoTokenizer

from music.sandbox.artifacts import BACKBONE

FOLDER = Path(__file__).parents[4] / "examples" / "openrlhf"


class ParsedError(Exception):
    """Carries the arguments out of OpenRLHF's command before it needs a GPU."""


@pytest.fixture
def arguments(openrlhf, monkeypatch):
    """What OpenRLHF's command makes of the flags in `train.sh`, started by `train.py`."""
    text = (FOLDER / "train.sh").read_text(encoding="utf-8").replace("\\\n", " ")
    flags = shlex.split(
        re.search(r"^python \S+train\.py (.*)$", text, re.MULTILINE)[1].replace("$POLICY", str(BACKBONE))
    )
    started = {}

    def stop(args):
        raise ParsedError(args)

    monkeypatch.setattr(openrlhf("utils"), "get_strategy", stop)
    monkeypatch.setattr(ray, "init", lambda **options: started.update(options))
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(sys, "argv", ["train.py", *flags])
    for name, value in {"POLICY": str(BACKBONE), "SIMULATED_USER": "sandbox", "REWARD": "oracle"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ParsedError) as caught:
        runpy.run_path(str(FOLDER / "train.py"), run_name="__main__")
    return SimpleNamespace(args=caught.value.args[0], runtime_env=started["runtime_env"])


async def test_the_recipe_is_what_openrlhf_takes_and_plays(arguments, openrlhf, make_engine, tmp_path, monkeypatch):
    args, runtime_env = arguments.args, arguments.runtime_env
    assert runtime_env["env_vars"]["REWARD"] == "oracle"
    assert callable(load_class(runtime_env["worker_process_setup_hook"]))  # as Ray does
    assert (args.algo.advantage.estimator, args.rollout.n_samples_per_prompt) == ("group_norm", 8)

    prompts = tmp_path / "prompts.jsonl"
    monkeypatch.setattr(sys, "argv", ["prompts.py", str(prompts)])
    runpy.run_path(str(FOLDER / "prompts.py"), run_name="__main__")
    rows = [json.loads(line) for line in prompts.read_text(encoding="utf-8").splitlines()]
    tokenizer = AutoTokenizer.from_pretrained(BACKBONE)
    strategy = SimpleNamespace(args=args, is_rank_0=lambda: False)
    _, prompt, label, _ = openrlhf("datasets").PromptDataset(rows, tokenizer, strategy)[1]

    executor = openrlhf("trainer.ray.vllm_engine")._load_agent_executor(str(FOLDER / "agent.py"))
    engine = make_engine(tokenizer, "Certainly. Start small.", "Keep it simple.", "Anything else?")
    params = SimpleNamespace(max_tokens=args.rollout.max_new_tokens, logprobs=None)
    done = await executor.execute(prompt, label, params, args.data.max_len, tokenizer, engine)
    logs = done["extra_logs"]
    assert logs["num_replies"] == 3.0
    assert done["reward"] == pytest.approx(sum(logs[f"turn_reward_{turn}"] for turn in range(3)), abs=1e-5)
