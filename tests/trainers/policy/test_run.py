import shutil
from pathlib import Path

import orjson
import pytest
from pydantic import ValidationError

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.llm.local import LocalChatModel
from music.sandbox.artifacts import BACKBONE
from music_trainers.policy.config import PolicyTrainingConfig
from music_trainers.policy.records import NOT_SAVED, PolicyTrainingResult
from music_trainers.policy.report import format_policy_result
from music_trainers.policy.run import train_policy

SMALL = {"num_groups": 2, "group_size": 2, "num_turns": 2, "updates_per_step": 1, "max_reply_tokens": 16}
SMALL |= {"num_steps": 3, "evaluate_every": 2, "num_evaluations": 4, "reward": "length"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    seen = []
    config = PolicyTrainingConfig(out=tmp_path_factory.mktemp("rl"), **SMALL)
    return train_policy(config, seen.append), seen


def test_the_policy_is_followed_from_the_start_to_the_last_step(run):
    result, seen = run
    assert [point.step for point in result.curve] == [0, 2, 3]
    assert list(result.curve) == seen
    assert result.curve[0].kl.value == 0.0
    assert result.curve[-1].kl.value != 0.0
    assert (result.greedy_before.step, result.greedy_after.step) == (0, 3)


def test_held_out_episodes_have_the_oracles_grades_besides_the_reward(run):
    for point in run[0].curve:
        assert len(point.grades) == len(point.rewards) == 4
        assert all(0 <= grade <= 1 for grade in point.grades)
        assert all(reward > 1 for reward in point.rewards)


def test_all_of_it_is_written(run):
    result, _ = run
    out = result.config.out
    saved = PolicyTrainingResult.model_validate_json((out / "result.json").read_bytes())
    assert saved.model_dump(exclude=NOT_SAVED) == result.model_dump(exclude=NOT_SAVED)
    assert "cut, % of replies" in (out / "report" / "02-evaluations.csv").read_text(encoding="utf-8")
    assert (out / "report.html").exists()
    assert (out / "report" / "01-plot-curves.svg").exists()
    for name in ("before", "after"):
        rows = [orjson.loads(line) for line in (out / f"{name}.jsonl").read_bytes().splitlines()]
        assert [Conversation.from_messages(row["messages"]).num_turns for row in rows] == [2] * 4
    LocalChatModel(str(out / "policy"))


def test_held_out_users_are_none_of_those_in_training(tmp_path, monkeypatch):
    from music_trainers.policy import evaluation, trainer

    met = {"training": set(), "held out": set()}
    for module, name in ((trainer, "training"), (evaluation, "held out")):
        roll_out = module.roll_out

        def spied(env, tokens, generate, seeds, rules, roll_out=roll_out, name=name):
            met[name] |= set(seeds)
            return roll_out(env, tokens, generate, seeds, rules)

        monkeypatch.setattr(module, "roll_out", spied)
    train_policy(PolicyTrainingConfig(out=tmp_path, **SMALL))
    assert len(met["training"]) == 3 * 2
    assert len(met["held out"]) == 4
    assert not met["training"] & met["held out"]


def test_prompts_of_a_file_are_held_out_too(tmp_path, monkeypatch):
    from music.pairs import PreferencePair
    from music.preferences import write_preferences
    from music_trainers.policy import surroundings as module

    prompts = [Conversation().user(f"One tip for {topic} cost?") for topic in ("rose", "lawn", "bread", "coffee")]
    sides = [(prompt.assistant("Yes."), prompt.assistant("No.")) for prompt in prompts]
    pairs = [PreferencePair(id=str(i), chosen=a, rejected=b) for i, (a, b) in enumerate(sides)]
    write_preferences(pairs, tmp_path / "seeds.parquet")
    made = []
    real = module.ChatVectorEnv
    monkeypatch.setattr(module, "ChatVectorEnv", lambda *args, **kw: made.append(set(kw["seeds"])) or real(*args, **kw))
    result = train_policy(PolicyTrainingConfig(out=tmp_path / "rl", seeds=str(tmp_path / "seeds.parquet"), **SMALL))
    training, held_out = made
    assert held_out | training == set(prompts)
    assert held_out
    assert training
    assert not held_out & training
    assert result.overoptimisation is None  # the oracle knows nothing about these prompts
    assert {point.grade for point in (*result.curve, result.greedy_before, result.greedy_after)} == {None}
    assert "judge's" not in format_policy_result(result)


def test_held_out_users_can_be_other_people(tmp_path):
    for name, wish in (("train", "Please call me Nora."), ("held-out", "Please call me Omar.")):
        (tmp_path / f"{name}.jsonl").write_bytes(orjson.dumps({"constraints": [wish]}))
    people = {"personas": tmp_path / "train.jsonl", "eval_personas": tmp_path / "held-out.jsonl"}
    train_policy(PolicyTrainingConfig(out=tmp_path / "rl", **(SMALL | people | {"num_evaluations": 12})))
    met = (tmp_path / "rl" / "after.jsonl").read_text(encoding="utf-8")
    assert "Omar" in met
    assert "Nora" not in met


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"reward_mode": "terminal"}, "discount"),
        ({"num_groups": 3, "group_size": 3, "updates_per_step": 2}, "divide the 9 conversations"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        PolicyTrainingConfig(out=Path("out"), **settings)


def test_a_policy_that_is_none_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="there is no such folder"):
        train_policy(PolicyTrainingConfig(out=tmp_path, policy=str(tmp_path / "nowhere")))
    shutil.copytree(BACKBONE, tmp_path / "cut")
    (tmp_path / "cut" / "model.safetensors").write_bytes(b"\x08")
    with pytest.raises(InvalidInputError, match="expected a causal language model") as refusal:
        train_policy(PolicyTrainingConfig(out=tmp_path / "rl", policy=str(tmp_path / "cut")))
    assert "\n" not in str(refusal.value)
