"""Removes the marks of chat templates from text that a model wrote, or makes them harmless.

A tokenizer reads `<|im_end|>` in a message's text as the token that ends a message. A reply that contains it would
forge turns in every conversation that it becomes part of.

- `strip_header` removes the header of the model's own turn at the front of a reply.
- `strip_end_marks` removes the mark that ends the turn, which servers with wrong stop tokens leave at the end.
- `neutralise` inserts a space after the first character of any other mark: `< |im_end|>`. That stays readable and is a
  token of no model family. `find_control_token` finds marks, neutralised or not.

Replies are changed and not refused: a server with wrong stop tokens leaves one at the end of most replies, and asking
again costs money and gives the same. As a side effect, text about such tokens and HTML's struck-through `<s>` get a
space too. Other tags and code are unchanged; so is `<tool_call>`, which forges no turn.

Seed contexts and personas of a simulation are neutralised as well. Preference files that are read for training are not:
there the text is the data.
"""

import re
from collections.abc import Iterable, Iterator

__all__ = ["find_control_token", "is_quoted", "neutralise", "outside_code", "strip_end_marks", "strip_header"]

_QUOTES = "`'\"‘’“”«»"
_FENCE = "```"
_NAME = r"[^\s|｜<>[\]]{1,64}"


def is_quoted(text: str, mark: re.Match[str]) -> bool:
    """Whether a mark is next to a quotation mark or a backtick."""
    around = text[max(0, mark.start() - 1) : mark.start()] + text[mark.end() : mark.end() + 1]
    return any(char in _QUOTES for char in around)


def outside_code(text: str, marks: Iterable[re.Match[str]], start: int = 0) -> Iterator[re.Match[str]]:
    """Yield the marks, in order, that are not inside a block of code that begins after `start`."""
    is_code = False
    for mark in marks:
        is_code ^= text.count(_FENCE, start, mark.start()) % 2 == 1
        start = mark.start()
        if not is_code:
            yield mark


def _turn_tokens(gap: str) -> str:
    """Return a regular expression of the tokens that structure turns; `gap` may follow their first character."""
    return (
        rf"<{gap}[|｜]{_NAME}[|｜]?>"  # ChatML, Llama 3 and 4, Phi, Qwen, GLM, GPT-OSS, Gemma 4, DeepSeek (<｜User｜>)
        rf"|<{gap}{_NAME}[|｜]>"  # Gemma 4 (<turn|>)
        rf"|<{gap}(?:start|end)_of_[a-z]+>"  # Gemma 1 to 3
        rf"|\[{gap}/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]"  # Llama 2, Mistral
        rf"|<{gap}</?SYS>>"  # Llama 2
        rf"|\[{gap}\|{_NAME}\|\]"  # EXAONE
    )


_CONTROL_TOKEN = re.compile(_turn_tokens("") + r"|</?s>|<(?:bos|eos|pad|unk)>")
_TURN_TOKEN = re.compile(_turn_tokens(" ?"))
# `<s>...</s>` may be HTML for struck-through text.
_BOS = r"(?:(?:<s>(?![^<]*</s>\s*\S)|<bos>|<\|begin_of_text\|>|<\|startoftext\|>|<｜begin▁of▁sentence｜>)\s*)"
_OPENING = (
    r"<\|(?:im_start|start_header_id|header_start|start_of_role|start|begin)\|>\s*(?:assistant|model|ai)"
    r"(?: to=user)?\s*(?:<\|(?:im_sep|im_middle|end_header_id|header_end|end_of_role|message|content)\|>|\n|(?=<))"
    r"|(?:<start_of_turn>|<\|turn>)model\n"  # Gemma
    r"|<\|(?:assistant|Assistant|bot|CHATBOT_TOKEN|message_model)\|>|<｜Assistant｜>|\[\|assistant\|\]"
    r"|<\|(?:START_OF_TURN_TOKEN|START_RESPONSE|START_TEXT|begin_of_solution|content_text|content)\|>"
    r"|<\|open\|>response<\|sep\|>|<\|channel\|>final<\|message\|>|\[/INST\]"
)
_HEADER = re.compile(rf"\s*(?:{_BOS}|(?:{_OPENING})\s*)+")
_NAKED_HEADER = re.compile(
    r"\s*(?:assistant\n\s*\n(?=\S)"  # Llama 3's header without its tokens
    r"|(?:assistant|model)\n(?=[^\n]*\S[ \t]\S)"  # ChatML's and Gemma's; in a list, a single word would follow
    # A speaker's name before a new line or a sentence. "Assistant: a noun" and "Assistant: A person" are definitions.
    r"|\**(?:Assistant|ASSISTANT)\**:\**(?:[ \t]*\n\s*(?=\S)|[ \t]+(?=[^a-z\s])(?!An? )))"
)
_LABELLED_LINE = re.compile(r"^\W{0,3}[A-Z][\w ]{0,30}:", re.MULTILINE)
"""A line that begins like such a header: in a glossary, or in a script for both speakers."""
_END_MARKS = (
    *("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|eot|>", "<|eom|>", "<|end|>", "<|return|>", "<|endoftext|>"),
    *("<|end_of_text|>", "<|end_of_turn|>", "<|endofturn|>", "<|END_OF_TURN_TOKEN|>", "<|END_RESPONSE|>"),
    *("<|END_TEXT|>", "<|end_of_solution|>", "<|end_message|>", "<|content_model_end_sampling|>", "<|role_end|>"),
    *(
        "<|user|>",
        "<|observation|>",
        "<|eos|>",
        "<｜end▁of▁sentence｜>",
        "<|end▁of▁sentence|>",
        "<|close|>message<|sep|>",
    ),
    *("<|close|>response<|sep|>", "[|endofturn|]", "[END FINAL RESPONSE]", "<end_of_turn>", "<turn|>", "<eos>", "</s>"),
)


def strip_header(text: str) -> str:
    """Return the text without the header of the model's own turn at its front.

    A header without its tokens is a plain word, so it is removed only in the exact form of a template.
    """
    if (header := _HEADER.match(text)) is not None:
        return text[header.end() :]
    naked = _NAKED_HEADER.match(text)
    if naked is None or (naked[0].rstrip().endswith((":", "*")) and _LABELLED_LINE.search(text, naked.end())):
        return text
    return text[naked.end() :]


def strip_end_marks(text: str) -> str:
    """Return the text without the marks at its end that end a turn.

    A mark that is a word of a sentence stays, as in "The token is </s>"; so does the end of `<s>...</s>`.
    """
    end = len(text.rstrip())
    if text[end - 1 : end] not in (">", "]") or not text.endswith(_END_MARKS, 0, end):
        return text
    marks = 0
    while (mark := next((mark for mark in _END_MARKS if text.endswith(mark, 0, end)), "")) != "":
        marks, first = marks + 1, end - len(mark)
        end = first
        while end and text[end - 1].isspace():
            end -= 1
    gap, before = text[end:first], text[max(0, end - 1) : end]
    is_word = marks == 1 and gap and "\n" not in gap and (before.isalnum() or before in tuple(":,;(="))
    is_closing_tag = text.startswith("</s>", first) and "<s>" in text[:end]
    return text if is_word or is_closing_tag else text[:end]


def neutralise(text: str) -> str:
    """Return the text with a space after the first character of each control token."""
    # Most replies contain neither character, and these two checks take a tenth of the time of a search.
    if "<" not in text and "[" not in text:
        return text
    return _CONTROL_TOKEN.sub(lambda token: f"{token[0][0]} {token[0][1:]}", text)


def find_control_token(text: str) -> str:
    """Return the first token that begins or ends a turn, neutralised or not; empty if there is none.

    Tokens in quotes or in a block of code are mentions, and do not count.
    """
    if "<" not in text and "[" not in text:
        return ""
    tokens = outside_code(text, _TURN_TOKEN.finditer(text))
    return next((token[0] for token in tokens if not is_quoted(text, token)), "")
