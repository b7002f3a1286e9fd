"""The reward model: from messages to tokens to one scalar per conversation.

- `RewardModel` (`music.reward.model`) scores conversations, their turns and candidate replies; `RewardSession`
  (`music.reward.session`) scores the candidates of one conversation that grows.
- `RewardFunction` (`music.reward.functions`) is the protocol of every reward; `load_reward` loads one by its name.
- `RemoteReward` (`music.reward.remote`) is a reward model behind one or more servers.
- `ScoreContract` (`music.reward.tokens.contract`) holds what a score depends on besides the weights.

Its packages, each of which imports only those before it:

- `music.reward.packing`: token sequences in rows that store shared beginnings once.
- `music.reward.attention`: attention over such rows.
- `music.reward.scoring`: token sequences to rewards.
- `music.reward.tokens`: messages to tokens, under the contract.
- `music.reward.loading`: loading and saving checkpoints.
- `music.reward.remote`: conversations to servers and back.

`music.reward.report` and `music.reward.cli` implement `music score`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
