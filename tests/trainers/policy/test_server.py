"""Training with a vLLM server. TRL's client and what steers it are real; the server behind the client is a stand-in."""

import copy

import pytest
import torch
import trl.generation.vllm_client as vllm_client
import trl.generation.vllm_generation as vllm_generation
from requests import ConnectionError as NoConnectionError
from transformers import AutoModelForCausalLM

from music.errors import InvalidInputError
from music.sandbox.artifacts import BACKBONE
from music_envs import ChatVectorEnv
from music_trainers.policy.chat_tokens import ChatTokens
from music_trainers.policy.config import PolicyTrainingConfig
from music_trainers.policy.loading import LoadedPolicy
from music_trainers.policy.outages import OutageError
from music_trainers.policy.rollouts import PLAY_ON, EpisodeRules
from music_trainers.policy.run import train_policy
from music_trainers.policy.sampling import sample_replies
from music_trainers.policy.trainer import TurnTrainer

URL = "http://127.0.0.1:8000"
SMALL = {"num_groups": 2, "group_size": 2, "num_turns": 2, "updates_per_step": 1, "max_reply_tokens": 12}
SMALL |= {"reward": "length", "vllm_server": URL}


class Server:
    """A vLLM server: a model of its own, with the weights that it was sent."""

    def __init__(self, tokenizer):
        self.model = AutoModelForCausalLM.from_pretrained(BACKBONE)
        self.tokens = ChatTokens(tokenizer, [])
        self.requests, self.replies, self.num_syncs = [], [], 0
        self.max_model_len, self.lasts = 2048, None

    def complete(self, request):
        """Answer a request as vLLM's `/v1/completions` does."""
        self.requests.append(request)
        if self.lasts is not None and len(self.requests) > self.lasts:
            raise NoConnectionError("connection refused")
        prompts = request["prompt"]
        replies = sample_replies(self.model, self.tokens, prompts, max_tokens=request["max_tokens"])
        self.replies += [tuple(reply) for reply in replies]
        return {"choices": [self.choice(*each) for each in zip(prompts, replies, strict=True)]}

    def choice(self, prompt, reply):
        with torch.no_grad():
            logits = self.model(input_ids=torch.tensor([prompt + reply])).logits[0, len(prompt) - 1 : -1]
        values = logits.log_softmax(-1)[range(len(reply)), reply].tolist()
        logprobs = {"tokens": [f"token_id:{each}" for each in reply], "token_logprobs": values}
        logprobs["top_logprobs"] = [{token: value} for token, value in zip(*logprobs.values(), strict=True)]
        return {"prompt_token_ids": prompt, "token_ids": reply, "logprobs": logprobs}

    def load(self, metadata, weights):
        """Load weights by name, as they were announced."""
        own = dict(self.model.named_parameters())
        for (name, _, shape), (sent, tensor) in zip(metadata, weights, strict=True):
            assert (name, shape) == (sent, list(tensor.shape))
            own.pop(name).data.copy_(tensor)
        assert not own
        self.num_syncs += 1


@pytest.fixture
def server(monkeypatch, tokenizer):
    """The server of all clients. Set another one with `server.clients.server`."""

    class Client(vllm_client.VLLMClient):
        """TRL's client without its network."""

        server = Server(tokenizer)
        check_server = init_communicator = reset_prefix_cache = lambda *_, **__: None

        def _get(self, url, **_):
            assert url == f"{URL}/v1/models"
            return {"data": [{"id": "policy"}]}

        def _post(self, url, json):
            assert url == f"{URL}/v1/completions"
            return self.server.complete(json)

        def get_server_info(self):
            options = {"logprobs_mode": "processed_logprobs", "max_model_len": self.server.max_model_len}
            return {"model_config": options}

        def update_named_params(self, metadata, named_params):
            self.server.load(metadata, named_params)

    for module in (vllm_client, vllm_generation):
        monkeypatch.setattr(module, "is_vllm_available", lambda **_: True)
    monkeypatch.setattr(vllm_generation, "VLLMClient", Client)
    Client.server.clients = Client
    return Client.server


def make_trainer(out, rules=PLAY_ON, **settings):
    config = PolicyTrainingConfig(out=out, **(SMALL | settings))
    policy = LoadedPolicy.load(config)
    env = ChatVectorEnv(config.num_episodes, num_turns=config.num_turns, reward="length", reward_mode="per_turn")
    seeds = range(config.num_steps * config.num_groups)
    return TurnTrainer(config, env, policy.model, policy.tokenizer, policy.tokens, seeds, rules)


@pytest.mark.parametrize("settings", [{}, {"lora_rank": 4}, {"rollouts": "asynchronous", "min_finished": 1.0}])
def test_replies_come_from_the_server_with_the_weights_and_the_log_probabilities_of_their_step(
    server, tmp_path, monkeypatch, settings
):
    trainer = make_trainer(tmp_path, num_steps=2, learning_rate=1e-2, **settings)
    first = copy.deepcopy(server.model.state_dict())
    steps = []

    def watched(inputs):
        steps.append((TurnTrainer._generate_and_score_completions(trainer, inputs), trainer.played))
        return steps[-1][0]

    monkeypatch.setattr(trainer, "_generate_and_score_completions", watched)
    trainer.train()
    assert server.num_syncs == len(steps) == 2
    last = server.model.state_dict()
    assert max((last[name] - first[name]).abs().max() for name in first) > 1e-3  # learned in the first step
    for output, played in steps:
        for row, logprobs, mask in zip(played, output["sampling_per_token_logps"], output["tool_mask"], strict=True):
            num = len(row.turns)
            assert [value == 0 for value in logprobs[:num]] == [turn < 0 for turn in row.turns]
            assert mask[:num].tolist() == [int(turn >= 0) for turn in row.turns]
            for turn in range(2):
                said = [token for token, its in zip(row.completion_ids, row.turns, strict=True) if its == turn]
                assert tuple(said) in server.replies
        own = output["old_per_token_logps"] * output["tool_mask"] * output["completion_mask"]
        torch.testing.assert_close(output["sampling_per_token_logps"], own, atol=1e-3, rtol=0)
        assert output["importance_sampling_ratio"].flatten().tolist() == pytest.approx([1.0] * 4, abs=1e-2)


def test_the_server_samples_from_the_plain_policy_and_ends_replies_as_the_trainer_does(server, tmp_path):
    trainer = make_trainer(tmp_path, num_steps=1)
    trainer.train()
    plain = {"n": 1, "temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
    for request in server.requests:
        assert request.items() >= plain.items()
        assert request["max_tokens"] == 12  # of one reply, not of the conversation
        assert request["stop_token_ids"] == list(server.tokens.end_ids)
    assert len(server.requests) == 2  # turns
    assert all(1 <= len(reply) <= 12 for reply in server.replies)


def test_a_run_that_lost_its_server_resumes_with_a_new_one_which_gets_the_trained_weights(server, tmp_path, tokenizer):
    config = PolicyTrainingConfig(out=tmp_path, num_steps=3, num_evaluations=2, learning_rate=1e-2, **SMALL)
    server.lasts, lines = 5, []  # until the second turn of the third step
    with pytest.raises(OutageError, match=f"the vLLM server {URL} cannot be reached"):
        train_policy(config, on_notice=lines.append)
    assert "step-00000002; resume it" in lines[-1]
    trained = server.model.state_dict()
    server.clients.server = new = Server(tokenizer)
    seen = []
    complete = new.complete
    new.complete = lambda request: seen.append(copy.deepcopy(new.model.state_dict())) or complete(request)
    train_policy(config.model_copy(update={"resume": True}))
    assert len(seen) == 2
    assert all(torch.equal(seen[0][name], trained[name]) for name in trained)
    assert not all(
        torch.equal(seen[0][name], weights) for name, weights in Server(tokenizer).model.state_dict().items()
    )


def test_a_missing_server_is_reported_before_training(server, tmp_path, monkeypatch):
    def refuse(*_):
        raise NoConnectionError("The vLLM server can't be reached")

    monkeypatch.setattr(server.clients, "check_server", refuse)
    with pytest.raises(OutageError, match=URL):
        make_trainer(tmp_path)


def test_what_the_server_lacks_is_reported_before_training(server, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("Restart it with `VLLM_SERVER_DEV_MODE=1`")

    monkeypatch.setattr(server.clients, "init_communicator", refuse)
    with pytest.raises(InvalidInputError, match=f"--vllm-server {URL}: Restart it"):
        make_trainer(tmp_path)


def test_conversations_must_fit_into_the_server(server, tmp_path):
    server.max_model_len = 100
    make_trainer(tmp_path, EpisodeRules(max_prompt_tokens=88))  # and 12 of a reply
    with pytest.raises(InvalidInputError, match="--max-length: expected at most 100"):
        make_trainer(tmp_path, EpisodeRules(max_prompt_tokens=89))


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(vllm_generation, "is_vllm_available", lambda: False)
    with pytest.raises(InvalidInputError, match=rf"--vllm-server {URL}: .*trl\[vllm\]"):
        make_trainer(tmp_path)


def test_the_server_is_an_url():
    with pytest.raises(ValueError, match="expected the base URL"):
        PolicyTrainingConfig(vllm_server="127.0.0.1:8000")
