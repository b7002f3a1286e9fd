"""From messages to tokens, under a score contract.

- `contract`: `ScoreContract`, what a score depends on besides the weights; `Scored`, a score or an `Unscorable`.
- `template`: how a chat template renders conversations, and the contract that follows from it.
- `fixed_date`: chat templates that write today's date.
- `encoding`: `ConversationTokenizer`, the only path from messages to tokens.
- `delimiters`, `rendered`: what a template writes around messages, and `RenderedTextParser`, from its text to messages.
- `texts`: `TextTokenizer`, from text in the model's own template to tokens.
- `queries`: messages and rendered text as RL libraries pass them.
"""
