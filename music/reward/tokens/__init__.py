"""From messages to tokens, and the contract that says which.

- `contract`: `ScoreContract`, what a score depends on besides the weights; `Unscorable`, why there is none; `Scored`.
- `template`: what a chat template makes of conversations, and the contract that follows from it.
- `fixed_date`: chat templates that write today's date.
- `encoding`: `ConversationTokenizer`, the one path from messages to tokens.
"""
