"""`check_chat_env`: plays a chat environment and checks the rules that agents, learners and searches rely on.

Use it in tests of environments of your own::

    def test_my_environment():
        check_chat_env(lambda: MyChatEnv(num_turns=3))

The user should answer equal requests alike, as the sandbox's or a scripted one does. One that samples freely breaks the
rules of determinism whatever the environment does.

- `check`: `check_chat_env`, and the rules on what an environment does. `episode_rules`: those on what an episode shows.
- `steps`: playing, and comparing recorded steps; `BrokenRuleError`.
"""

from music_envs.testing.check import check_chat_env
from music_envs.testing.steps import BrokenRuleError

__all__ = ["BrokenRuleError", "check_chat_env"]
