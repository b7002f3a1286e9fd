"""Conversations from the text that a chat template made of them: only where it is sure which messages it stands for."""

from transformers import PreTrainedTokenizerBase

from music.conversation import Conversation
from music.errors import InvalidInputError
from music_envs.adapters.prompts import read_prompt

__all__ = ["plain_reply", "read_rendered_prompt", "reply_of_query"]


def read_rendered_prompt(tokenizer: PreTrainedTokenizerBase, text: str, messages: object) -> Conversation:
    """Return the conversation that a rendered prompt stands for.

    Args:
        tokenizer: The policy's.
        text: The rendered prompt.
        messages: Those it was rendered from, or JSON text of them.

    Raises:
        InvalidInputError: The text is not, to the letter, what the tokenizer's chat template makes of the messages.
    """
    prompt = read_prompt(messages)
    made = tokenizer.apply_chat_template(prompt.to_messages(), tokenize=False, add_generation_prompt=True)
    if made != text:
        raise InvalidInputError(
            f"expected the prompt as the tokenizer's chat template renders its messages, {made!r:.200}, got "
            f"{text!r:.200}: give the policy's own tokenizer, and the messages that the prompt was made from"
        )
    return prompt


def reply_of_query(tokenizer: PreTrainedTokenizerBase, query: str, prompt: str) -> str:
    """Return the reply in a query, which was decoded from the prompt's ids followed by the reply's.

    Raises:
        InvalidInputError: The query does not begin with the prompt.
    """
    seen = str(tokenizer.decode(tokenizer(prompt, add_special_tokens=False)["input_ids"], skip_special_tokens=False))
    if not query.startswith(seen):
        raise InvalidInputError(
            f"expected a query that begins with its prompt, {seen[-100:]!r}, got {query[:200]!r}: was the prompt cut "
            "to fit? Then allow longer ones, for a conversation without its beginning cannot be judged"
        )
    return plain_reply(tokenizer, query[len(seen) :])


def plain_reply(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """Return a reply without special tokens, stripped."""
    for token in tokenizer.all_special_tokens:
        text = text.replace(token, "")
    return text.strip()
