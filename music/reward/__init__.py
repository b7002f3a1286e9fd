"""The reward model: from messages to tokens to one scalar per conversation.

- `music.reward.model`: `RewardModel`, which scores conversations, their turns and candidate replies.
- `music.reward.session`: `RewardSession`, one conversation that grows, with its candidates.
- `music.reward.scored`: `Scored`, a score or why there is none. - `music.reward.fingerprint`: what tells models apart.
- `music.reward.contract`: `ScoreContract`, what a score depends on besides the weights.
- `music.reward.tokens`, `music.reward.template`: `ConversationTokenizer`, the one path from messages to tokens.
- `music.reward.reading`, `music.reward.eos_ending`: at which token rewards are read. `music.reward.fixed_date`: chat
  templates that write today's date.
- `music.reward.packing`, `music.reward.attention`, `music.reward.grouping`, `music.reward.forward`: sequences in rows
  where shared beginnings stand once, and their way through the model. `music.reward.rope`: which cannot share a row.
- `music.reward.self_test`, `music.reward.probe`: whether a model scores packed rows as it should.
- `music.reward.scoring`: sequences to rewards; `music.reward.prefix_cache`, `music.reward.state_pool`: what is kept of
  them from call to call, by which tokens and as which tensors.
- `music.reward.loading`: checkpoints in. `music.reward.architecture` names the class, `music.reward.weights` reads
  files, `music.reward.heads` and `music.reward.adapters` know other trainers' layouts, `music.reward.classifier` puts
  them together; `music.reward.tokenizer` and `music.reward.vocabulary` read tokenizers.
- `music.reward.device`: where models compute.
- `music.reward.functions`: the `RewardFunction` protocol, baselines, and `load_reward`.
- `music.reward.remote`: `RemoteReward`, a reward model that a server has.
- `music.reward.cli`: `music score`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
