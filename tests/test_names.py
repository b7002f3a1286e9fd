"""What users may have meant, and which names go to the network."""

import logging
import socket
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from huggingface_hub import constants

from music.errors import InvalidInputError
from music.names import did_you_mean, find_model, nearest_path
from music.reward import load_reward
from music.reward.functions import require_reward
from music.reward.model import RewardModel
from music.sandbox import BACKBONE, REWARD_MODEL, seed_pairs


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Work in a folder that holds the model `runs/rm`."""
    (tmp_path / "runs" / "rm").mkdir(parents=True)
    (tmp_path / "runs" / "rm" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def hub(monkeypatch):
    """Serve a hub that has `owner/model` alone; yields the paths that were asked for."""
    asked = []

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self):
            asked.append(self.path)
            self.send_response(200 if self.path.startswith("/owner/model/") else 404)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield asked
    server.shutdown()
    server.server_close()


def test_a_near_name_is_suggested_and_a_far_one_is_not():
    assert did_you_mean("orcale", ["oracle", "length"]) == "; did you mean 'oracle'?"
    assert did_you_mean("orcale", ["one", "two"]) == ""


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ("seed_files/pirs.jsonl", "seed_files/pairs.jsonl"),
        ("sed_files/pairs.jsonl", "seed_files/pairs.jsonl"),
        ("seed_files/nothing_like_it", None),
        ("nowhere/pairs.jsonl", None),
        ("nowhere/at/all", None),
    ],
)
def test_a_near_path_is_suggested_by_its_names_alone(tmp_path, slip, meant):
    (tmp_path / "seed_files").mkdir()
    (tmp_path / "seed_files" / "pairs.jsonl").write_text("")
    assert nearest_path(tmp_path / slip) == (f"; did you mean {str(tmp_path / meant)!r}?" if meant else "")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("runs/rmm", "no such folder.*did you mean 'runs/rm'"),
        ("runs", "holds no config.json; did you mean 'runs/rm'"),
        ("./nowhere", "no such folder"),
        ("a/b/c", "no such folder"),
        ("~nobody/x", "no such folder"),
        ("what: a name", "no such folder"),
        ("file.txt", "it is a file"),
    ],
)
def test_a_slip_in_a_path_never_goes_to_the_hub(runs, hub, name, words):
    (runs / "file.txt").write_text("")
    with pytest.raises(InvalidInputError, match=words):
        find_model(name)
    assert hub == []


@pytest.mark.parametrize("name", ["orcale", "lenght", "radnom"])
def test_a_slip_in_a_rewards_name_never_goes_to_the_hub(runs, hub, name):
    with pytest.raises(InvalidInputError, match="did you mean"):
        require_reward(name)
    with pytest.raises(InvalidInputError, match="did you mean"):
        load_reward(name)
    assert hub == []


def test_what_may_be_on_the_hub_is_asked_for_once_and_that_is_reported(runs, hub, caplog):
    caplog.set_level(logging.INFO)
    find_model("owner/model")
    assert "looking for it on the Hugging Face hub" in caplog.text
    with pytest.raises(InvalidInputError, match="no such model on the hub"):
        find_model("owner/other")
    missing = [f"/owner/other/resolve/main/{file}" for file in ("config.json", "adapter_config.json")]
    assert hub == ["/owner/model/resolve/main/config.json", *missing]


def test_a_hub_that_cannot_be_reached_is_reported_after_one_try(runs, monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{unused.getsockname()[1]}")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        with pytest.raises(InvalidInputError, match=r"the Hugging Face hub cannot be reached .*refused"):
            find_model("owner/model")


def test_offline_only_the_cache_is_looked_at(runs, hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InvalidInputError, match="nor is it cached, and HF_HUB_OFFLINE is set"):
        find_model("owner/model")
    assert hub == []


@pytest.mark.parametrize("name", ["oracle", "length", "random", "random:3", "m@http://127.0.0.1:1/v1", "runs/rm"])
def test_names_of_rewards_are_taken(runs, hub, name):
    require_reward(name)
    assert hub == []


@pytest.mark.parametrize(("kind", "path"), [("language_model", BACKBONE), ("reward_model", REWARD_MODEL)])
def test_sandbox_names_the_built_in_model_of_each_kind(runs, hub, kind, path):
    assert find_model("sandbox", kind) == str(path)
    (runs / "sandbox").mkdir()  # of another content
    assert find_model("sandbox", kind) == str(path)
    with pytest.raises(InvalidInputError, match="did you mean 'sandbox'"):
        find_model("sandbx", kind)
    assert hub == []


def test_a_reward_is_named_sandbox_wherever_one_is_named(hub):
    conversations = [pair.chosen for pair in seed_pairs(2, seed=0)]
    expected = RewardModel.from_pretrained(REWARD_MODEL).score(conversations)
    require_reward("sandbox")
    require_reward("prefix-mean:sandbox")
    assert load_reward("sandbox")(conversations) == expected
    assert RewardModel.from_pretrained("sandbox").score(conversations) == expected
    assert load_reward("dpo:sandbox:sandbox")(conversations) == [0.0, 0.0]
    assert hub == []
