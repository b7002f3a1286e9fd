"""The page on the chat environment keeps its word: its code runs."""

import asyncio
import re
from pathlib import Path

import pytest

from music_envs import ChatEnv
from music_envs.testing import BrokenRuleError, check_chat_env

PAGE = (Path(__file__).parents[3] / "docs" / "chat-environment.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_the_code_runs(block):
    scope = {}
    exec(block, scope)
    if "play" in scope:
        assert 0 <= asyncio.run(scope["play"](seed=0)) <= 1


def test_the_rule_that_is_shown_is_broken_as_shown():
    class Priced(ChatEnv):
        def step(self, action):
            observation, reward, *rest = super().step(action)
            return observation, reward - 0.001 * len(action), *rest

    with pytest.raises(BrokenRuleError) as caught:
        check_chat_env(Priced)
    assert str(caught.value) in " ".join(PAGE.split())
