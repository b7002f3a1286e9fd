"""`check_chat_env`: plays a chat environment and checks the rules that agents, learners and searches rely on.

Use it to test your own environments::

    def test_my_environment():
        check_chat_env(lambda: MyChatEnv(num_turns=3))

The user should answer equal requests alike, as the sandbox's user or a scripted one does. A user that samples freely
breaks the rule `determinism` in any environment.

- `check`: `check_chat_env`, and the rules about an environment. `episode_rules`: the rules about one episode.
- `steps`: playing episodes and comparing them; `BrokenRuleError`.
"""

from music_envs.testing.check import check_chat_env
from music_envs.testing.steps import BrokenRuleError

__all__ = ["BrokenRuleError", "check_chat_env"]
