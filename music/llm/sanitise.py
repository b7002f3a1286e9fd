"""Takes the force out of chat templates' control tokens in text that a model wrote.

A tokenizer reads `<|im_end|>` in a message's text as the very token that ends a message, so a reply that contains it
would forge turns in every conversation that it becomes part of. `neutralise` sets a space behind the token's first
character: `< |im_end|>`. That stays readable, is seen at a glance, and is no token of any family.

Replies are changed and not refused: a server with wrong stop tokens leaks one at the end of most replies, and asking
again would be paid for and give the same. The price is that text about such tokens, and HTML's struck-through `<s>`,
gets a space too. Other tags and code are left as they are; so are `<think>` and `<tool_call>`, which forge no turn.

Seed contexts and personas of a simulation pass through here as well. Preference files that are read for training do
not: there the text is the data.
"""

import re

__all__ = ["neutralise"]

_NAME = r"[^\s|｜<>[\]]{1,64}"
_CONTROL_TOKEN = re.compile(
    rf"<[|｜]{_NAME}[|｜]?>"  # ChatML, Llama 3 and 4, Phi, Qwen, GLM, GPT-OSS, Gemma 4 (<|turn>), DeepSeek (<｜User｜>)
    rf"|<{_NAME}[|｜]>"  # Gemma 4 (<turn|>)
    r"|</?s>|<(?:bos|eos|pad|unk|(?:start|end)_of_[a-z]+)>"  # Llama 2, Mistral, Gemma 1 to 3
    r"|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]|<</?SYS>>"  # Llama 2, Mistral
    rf"|\[\|{_NAME}\|\]"  # EXAONE
)


def neutralise(text: str) -> str:
    """Return the text with a space behind the first character of each control token."""
    # Most replies hold neither character, and these two looks cost a tenth of a search.
    if "<" not in text and "[" not in text:
        return text
    return _CONTROL_TOKEN.sub(lambda token: f"{token[0][0]} {token[0][1:]}", text)
