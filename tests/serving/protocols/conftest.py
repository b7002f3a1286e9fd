"""A small reward model, a policy with another chat template, and what asks a server without a network."""

import asyncio
import sys
from pathlib import Path
from types import SimpleNamespace

import orjson
import pytest

from music.chat_template import BUILT_IN
from music.conversation import Conversation

GPU_ONLY = Path(sys.prefix) / "gpu-only"
SHORT = Conversation().user("Name a fruit.").assistant("An apple.")
LONG = SHORT.user("And a pear?").assistant("Yes, a pear is good.")
WITH_SYSTEM = Conversation.from_messages([{"role": "system", "content": "Be short."}, *LONG.to_messages()])


@pytest.fixture(scope="session")
def talks():
    """Conversations whose scores differ."""
    return [SHORT, LONG, WITH_SYSTEM]


@pytest.fixture(scope="session")
def checkpoint(reward_checkpoint, tmp_path_factory):
    """A reward model with a score contract."""
    from music.reward import RewardModel

    folder = tmp_path_factory.mktemp("served")
    RewardModel.from_pretrained(reward_checkpoint("llama")).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def policy(make_tokenizer, tmp_path_factory):
    """A policy's tokenizer, which renders with ChatML, and its folder."""
    template, tokens = BUILT_IN["chatml"]
    tokenizer = make_tokenizer(template)
    tokenizer.add_special_tokens({"additional_special_tokens": list(tokens)})
    tokenizer.eos_token = "<|im_end|>"
    folder = tmp_path_factory.mktemp("policy")
    tokenizer.save_pretrained(folder)
    return SimpleNamespace(tokenizer=tokenizer, folder=folder)


@pytest.fixture(scope="session")
def load(checkpoint):
    """Return what loads the reward model with settings of a server."""
    from music.serving.config import ServingConfig
    from music.serving.served_model import load_served

    return lambda **settings: load_served(str(checkpoint), ServingConfig(**settings))


@pytest.fixture(scope="session")
def served(load):
    """The reward model of a server that is told of no policy."""
    return load()


@pytest.fixture(scope="session")
def expected(served, talks):
    """The scores of `talks` by the model itself."""
    return [pytest.approx(score, abs=1e-5) for score in served.model.score(talks)]


@pytest.fixture(scope="session")
def render(served):
    """Return what renders a conversation in the reward model's chat template."""
    tokenizer = served.model.tokens.tokenizer

    def text(conversation, **options):
        return tokenizer.apply_chat_template(conversation.to_messages(), tokenize=False, **options)

    return text


@pytest.fixture(scope="session")
def ids(served):
    """Return what gives the token ids of a conversation."""
    return lambda conversation: served.model.tokens.encode([conversation])[0].ids


@pytest.fixture
def ask(served):
    """Return what posts a body to a path and gives the answer, after it has checked the status."""
    from music.serving.config import ServingConfig
    from music.serving.http import HttpRequest
    from music.serving.service import ScoringService

    async def post(path, body, model):
        async def read():
            return orjson.dumps(body)

        service = ScoringService(model, ServingConfig())
        try:
            return await service.handle(HttpRequest("POST", path, {}, read))
        finally:
            await service.engine.aclose()

    def answer(path, body, *, status=200, model=None):
        response = asyncio.run(post(path, body, model or served))
        assert response.status == status, response.body
        return orjson.loads(response.body)

    return answer


@pytest.fixture
def break_model(monkeypatch, served):
    """Let the model fail on every conversation."""

    def fail(*_):
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(type(served.model), "score_encoded", fail)


@pytest.fixture(scope="session")
def server(checkpoint, policy):
    """The base URL of a server in its own process that is told of the policy."""
    from music.serving import reward_server

    with reward_server(str(checkpoint), "--policy-template", str(policy.folder), "--device", "cpu") as url:
        yield url


@pytest.fixture
def gpu_only(monkeypatch):
    """OpenRLHF and verl without what they need a GPU for, put there by the Makefile."""
    assert GPU_ONLY.is_dir(), f"{GPU_ONLY} is missing: `make test` installs OpenRLHF and verl there"
    monkeypatch.setattr(sys, "path", [*sys.path, str(GPU_ONLY)])
