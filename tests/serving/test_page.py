"""The page `docs/serving.md` is followed: its requests and snippets run against a real server."""

import json
import re
import shlex
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from music.conversation import Conversation
from music.reward import RewardModel
from music.sandbox import REWARD_MODEL
from music.serving import reward_server

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
URL = "http://127.0.0.1:8300"
TEA = Conversation().user("Can I get a tip for tea?")
SMALL = "Certainly. Start small with tea."


def blocks(language):
    found = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    return [pytest.param(text, id=f"{language}-{number}") for number, text in enumerate(found)]


@pytest.fixture(scope="module")
def url():
    with reward_server(str(REWARD_MODEL), "--device", "cpu", "--policy-template", "chatml") as base_url:
        yield base_url


@pytest.fixture(scope="module")
def local():
    return RewardModel.from_pretrained(REWARD_MODEL, device="cpu")


def numbers(value):
    """Yield all floats of an answer."""
    if isinstance(value, float):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from numbers(each)


@pytest.mark.parametrize("block", blocks("sh"))
def test_requests_get_the_models_scores(block, url, local):
    command, address, *flags = shlex.split(block)
    assert command == "curl"
    headers = dict([flags[flags.index("-H") + 1].split(": ")])
    body = flags[flags.index("-d") + 1].encode()
    with urlopen(Request(address.replace(URL, url), body, headers)) as response:
        found = list(numbers(json.load(response)))
    known = local.score(
        [
            TEA.assistant(SMALL),
            TEA.assistant("No."),
            Conversation().user("A tip for tea?").assistant("Start small with tea."),
        ]
    )
    assert any(abs(number - score) < 1e-5 for number in found for score in known), found


@pytest.mark.parametrize("block", blocks("python"))
def test_snippets_run_and_print_scores(block, url, capsys):
    exec(compile(block.replace(URL, url), "serving.md", "exec"), {"__name__": "snippet"})
    assert re.search(r"-?\d+\.\d+", capsys.readouterr().out)
