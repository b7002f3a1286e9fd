"""The reward model: from messages to tokens to one scalar per conversation.

- `music.reward.model`: `RewardModel`, which scores conversations, their turns and candidate replies.
- `music.reward.session`: `RewardSession`, which keeps what it computed of a history from turn to turn.
- `music.reward.contract`: `ScoreContract`, what a score depends on besides the weights.
- `music.reward.tokens`, `music.reward.template`: `ConversationTokenizer`, the one path from messages to tokens.
- `music.reward.packing`, `music.reward.attention`, `music.reward.grouping`, `music.reward.forward`: sequences in rows
  where shared beginnings stand once, and their way through the model.
- `music.reward.loading`: checkpoints in.
- `music.reward.functions`: the `RewardFunction` protocol, baselines, and `open_reward`.
- `music.reward.cli`: `music score`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
