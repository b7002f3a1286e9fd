import asyncio
import json
import logging
from types import SimpleNamespace

import pytest

from music.chat_template import BUILT_IN
from music.errors import InvalidInputError

NEITHER = "Human: Name a fruit.\n\nAssistant: An apple."


@pytest.fixture
def rollouts(policy, talks):
    """The prompts of `talks` and their queries, in the policy's chat template, special tokens included."""

    def text(messages, **options):
        return policy.tokenizer.apply_chat_template(messages, tokenize=False, **options)

    asked = [talk.to_messages()[:-1] for talk in talks]
    prompts = [text(messages, add_generation_prompt=True) for messages in asked]
    return SimpleNamespace(messages=asked, prompts=prompts, queries=[text(talk.to_messages()) for talk in talks])


@pytest.fixture
def told(load, policy):
    """The model of a server that is told of the policy's tokenizer."""
    return load(policy_template=str(policy.folder))


@pytest.mark.parametrize("has_prompts", [True, False])
def test_a_policys_text_is_scored_in_the_models_own_template(ask, told, rollouts, ids, talks, expected, has_prompts):
    body = {"query": rollouts.queries}
    body |= {"prompts": rollouts.prompts, "labels": ["river", None, 3]} if has_prompts else {}
    answer = ask("/get_reward", body, model=told)
    assert answer["rewards"] == answer["scores"] == expected
    assert answer["extra_logs"] == {
        "num_tokens": [float(len(ids(talk))) for talk in talks],
        "num_dropped_turns": [0.0, 0.0, 0.0],
        "unscorable": [0.0, 0.0, 0.0],
    }
    assert answer.keys() == {"rewards", "scores", "extra_logs"}


@pytest.mark.parametrize("kind", ["a name", "a file"])
def test_a_template_alone_is_enough(ask, load, rollouts, expected, tmp_path, kind):
    (tmp_path / "policy.jinja").write_text(BUILT_IN["chatml"][0])
    model = load(policy_template="chatml" if kind == "a name" else str(tmp_path / "policy.jinja"))
    for body in ({"query": rollouts.queries}, {"query": rollouts.queries, "prompts": rollouts.prompts}):
        assert ask("/get_reward", body, model=model)["rewards"] == expected


@pytest.mark.parametrize("is_told", [True, False])
def test_text_in_the_models_own_template_needs_no_policy(ask, served, told, render, talks, expected, is_told):
    body = {"query": [render(talk) for talk in talks], "prompts": ["", "", ""], "labels": ["", "", ""]}
    assert ask("/get_reward", body, model=told if is_told else served)["rewards"] == expected


def test_labels_may_hold_the_prompts_messages_which_are_then_checked(ask, told, rollouts, expected):
    body = {"query": rollouts.queries, "prompts": rollouts.prompts}
    for labels in (rollouts.messages, [json.dumps(each) for each in rollouts.messages]):
        assert ask("/get_reward", body | {"labels": labels}, model=told)["rewards"] == expected
    other = [json.dumps([{"role": "user", "content": "Name a tree."}]), *labels[1:]]
    reason = ask("/get_reward", body | {"labels": other}, model=told, status=400)["detail"]
    assert reason.startswith("conversation 0: expected text in the policy's chat template: ")
    assert "expected 'tree." in reason


def test_a_query_that_nothing_reads_is_refused_with_advice(ask, served, told, rollouts):
    reason = ask("/get_reward", {"query": [NEITHER]}, model=served, status=400)["detail"]
    assert reason.startswith("expected text in the reward model's chat template: ")
    assert reason.endswith("start the server with --policy-template and the folder of the policy's tokenizer")
    reason = ask("/get_reward", {"query": [*rollouts.queries, NEITHER]}, model=told, status=400)["detail"]
    assert reason.startswith("conversation 3: expected text in the policy's chat template: ")
    other = {"query": rollouts.queries[:1], "prompts": rollouts.prompts[1:2]}
    assert "begins with its prompt" in ask("/get_reward", other, model=told, status=400)["detail"]


def test_a_blank_reply_is_refused_or_gets_the_floor_and_is_counted(ask, load, told, policy, rollouts, expected):
    body = {"query": [rollouts.queries[0], f"{rollouts.prompts[1]} \n<|im_end|>"], "prompts": rollouts.prompts[:2]}
    reason = ask("/get_reward", body, model=told, status=400)["detail"]
    assert reason.startswith("conversation 1: the policy's reply is blank: start the server with --floor")
    answer = ask("/get_reward", body, model=load(policy_template=str(policy.folder), floor=-5.0))
    assert answer["rewards"] == answer["scores"] == [expected[0], -5.0]
    assert answer["extra_logs"]["unscorable"] == [0.0, 1.0]


@pytest.mark.usefixtures("break_model")
def test_a_floor_never_hides_a_failure_of_the_server(ask, load, rollouts):
    model = load(policy_template="chatml", floor=-5.0)
    assert "the model failed" in ask("/get_reward", {"query": rollouts.queries[:1]}, model=model, status=503)["detail"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "query: Field required"),
        ({"query": "text"}, "query: Input should be a valid array"),
        ({"query": ["a"], "prompts": ["a", "b"]}, "expected as many prompts as queries, 1, got 2"),
        ({"query": ["a"], "labels": ["a", "b"]}, "expected as many labels as queries, 1, got 2"),
    ],
)
def test_requests_of_another_shape_are_refused(ask, body, message):
    assert ask("/get_reward", body, status=400)["detail"] == message


def test_no_query_gets_no_reward(ask):
    # With several URLs, earlier versions of OpenRLHF send empty lists to all but the first.
    assert ask("/get_reward", {"query": [], "prompts": [], "labels": []})["rewards"] == []


@pytest.mark.parametrize(
    ("choice", "message"),
    [("chatlm", "chatlm: expected .*; did you mean 'chatml'"), ("empty", "expected the folder of a model")],
)
def test_a_policy_that_is_not_there_stops_the_start(load, tmp_path, monkeypatch, choice, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInputError, match=message):
        load(policy_template=choice)


class Engine:
    """A policy that replies with the same tokens each time, as OpenRLHF's executor calls vLLM."""

    def __init__(self, ids):
        self._ids = ids

    async def generate(self, prompt_ids, params, multi_modal_data=None):
        return SimpleNamespace(outputs=[SimpleNamespace(token_ids=self._ids, finish_reason="stop", logprobs=None)])


@pytest.fixture
def roll_out(gpu_only, monkeypatch, policy, server):
    """Return what lets OpenRLHF's own executor generate a reply and fetch its reward from the server."""
    from openrlhf.utils import agent

    async def at_once(_):
        pass

    monkeypatch.setattr(agent, "asyncio", SimpleNamespace(**vars(asyncio) | {"sleep": at_once}))

    def execute(prompt, reply, label=""):
        encode = lambda text: policy.tokenizer(text, add_special_tokens=False)["input_ids"]  # noqa: E731
        executor = agent.SingleTurnAgentExecutor(remote_rm_url=[f"{server}/get_reward"])
        params = SimpleNamespace(max_tokens=64, logprobs=None)
        running = executor.execute(prompt, label, params, 512, policy.tokenizer, Engine(encode(reply)))
        return asyncio.run(running)

    return execute


def test_openrlhfs_own_client_gets_the_models_scores(roll_out, rollouts, talks, expected):
    for row, talk in enumerate(talks):
        for label in ("river", json.dumps(rollouts.messages[row])):
            sample = roll_out(rollouts.prompts[row], f"{talk.messages[-1].content}<|im_end|>", label)
            assert sample["reward"] == sample["scores"] == [expected[row]]
            assert sample["extra_logs"]["unscorable"] == [0.0]


def test_openrlhfs_log_has_the_reason_of_a_refusal(roll_out, rollouts, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("openrlhf.utils.agent"), "propagate", True)
    monkeypatch.setattr(logging.getLogger("openrlhf"), "propagate", True)
    with caplog.at_level(logging.INFO):
        sample = roll_out(rollouts.prompts[0], " <|im_end|>")
    assert sample["reward"] is None
    assert "400, message=\"the policy's reply is blank: start the server with --floor" in caplog.text
