"""A reward model behind one or more servers.

- `client`: `RemoteReward`, with the interface of the model in this process; `settings`: its settings.
- `cluster`: replicas as one scorer, in `batches` that keep a conversation with its replica.
- `server`: one server, its protocol, what it serves, and the check that its scores are raw rewards.
- `wire`: one request in a server's protocol: `native` (`music serve`), `vllm`, and `rendered` (SGLang, OpenRLHF).
"""

from music.reward.remote.client import RemoteReward
from music.reward.remote.settings import RemoteRewardSettings, RewardProtocol

__all__ = ["RemoteReward", "RemoteRewardSettings", "RewardProtocol"]
