"""OpenRLHF: a `reward_func` for single replies, an `AgentExecutor` for conversations, and credit for each turn.

- `as_reward_func`: for the file that `reward.remote_url` names.
- `agent_executor`: for the file that `train.agent_func_path` names.
- `use_turn_credit`: for the processes of the trainer.

OpenRLHF passes rendered text. Every row's label must therefore hold the prompt's messages as JSON text, and the text
must be exactly those messages as the tokenizer's chat template renders them; anything else is refused.
"""

from music_envs.adapters.openrlhf.agent import agent_executor
from music_envs.adapters.openrlhf.credit import use_turn_credit
from music_envs.adapters.openrlhf.reward import as_reward_func

__all__ = ["agent_executor", "as_reward_func", "use_turn_credit"]
