"""Choosing a tokenizer's chat template: its default, one of its named ones, a file, or a built-in one.

Training, scoring, policy training and local models all choose templates here. Templates are untrusted: only
transformers renders them, in Jinja's sandbox.
"""

from pathlib import Path
from typing import Any

from music.errors import InvalidInputError
from music.names import did_you_mean

__all__ = ["BUILT_IN", "RENDERING_FAULTS", "choose_template", "template_text"]

RENDERING_FAULTS = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""Errors, besides Jinja's, of templates that do something impossible with messages."""

# Separators come before a message, not after it. So conversations end with the closing token, and one that is cut after
# a reply is a prefix of the whole.
_CHATML = r"""{%- for message in messages -%}
{{- ('' if loop.first else '\n') + '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '\n<|im_start|>assistant\n' -}}{%- endif -%}
"""
_LLAMA3 = r"""{{- bos_token -}}
{%- for message in messages -%}
{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' -}}{%- endif -%}
"""
_GEMMA = r"""{{- bos_token -}}
{%- set system = messages[0]['content'] | trim + '\n\n' if messages and messages[0]['role'] == 'system' else '' -%}
{%- for message in (messages[1:] if system else messages) -%}
{{- ('' if loop.first else '\n') + '<start_of_turn>' -}}
{{- ('model' if message['role'] == 'assistant' else message['role']) + '\n' + (system if loop.first else '') -}}
{{- message['content'] | trim + '<end_of_turn>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '\n<start_of_turn>model\n' -}}{%- endif -%}
"""
_ZEPHYR = r"""{%- for message in messages -%}
{{- ('' if loop.first else '\n') + '<|' + message['role'] + '|>\n' + message['content'] + eos_token -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '\n<|assistant|>\n' -}}{%- endif -%}
"""

BUILT_IN: dict[str, tuple[str, tuple[str, ...]]] = {
    "chatml": (_CHATML, ("<|im_start|>", "<|im_end|>")),
    "gemma": (_GEMMA, ("<start_of_turn>", "<end_of_turn>")),
    "llama3": (_LLAMA3, ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")),
    "zephyr": (_ZEPHYR, ()),
}
"""Templates by name, each with the tokens that it needs. `zephyr` needs only EOS, which nearly every tokenizer has."""


def template_text(tokenizer: Any, remedy: str) -> str:
    """Return the template that a tokenizer uses by default, as transformers chooses it.

    Args:
        tokenizer: The tokenizer. Its `chat_template` may be a dict of several templates by name.
        remedy: What a user can do if there is no template; the error ends with it.

    Raises:
        InvalidInputError: The tokenizer has no template, or has several and none is named `default`.
    """
    own = tokenizer.chat_template
    if isinstance(own, dict) and "default" not in own:
        raise InvalidInputError(f"none of its chat templates, {', '.join(sorted(own))}, is named default: {remedy}")
    text = own["default"] if isinstance(own, dict) else own
    if not text:
        raise InvalidInputError(f"the tokenizer has no chat template: {remedy}")
    return str(text)


def choose_template(tokenizer: Any, choice: str) -> str:
    """Return the template that a user chose.

    Args:
        tokenizer: The tokenizer, which may have named templates.
        choice: One of these names, a path to a file, or a name in `BUILT_IN`. The first match is used.

    Raises:
        InvalidInputError: There is no such template, or the tokenizer lacks a token that a built-in one needs.
    """
    own = tokenizer.chat_template if isinstance(tokenizer.chat_template, dict) else {}
    if choice in own:
        return str(own[choice])
    if Path(choice).is_file():
        try:
            return Path(choice).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInputError(f"chat template {choice}: expected Jinja text in UTF-8, got: {error}") from error
    if choice not in BUILT_IN:
        known = [*own, *BUILT_IN]
        raise InvalidInputError(
            f"chat template {choice!r}: expected a file, or one of {', '.join(known)}{did_you_mean(choice, known)}"
        )
    text, needed = BUILT_IN[choice]
    if not needed and not tokenizer.eos_token:
        raise InvalidInputError(f"chat template {choice!r}: it ends messages with EOS, and the tokenizer has none")
    if missing := [token for token in needed if token not in tokenizer.get_vocab()]:
        raise InvalidInputError(
            f"chat template {choice!r}: the tokenizer lacks its tokens {', '.join(missing)}; zephyr needs only EOS"
        )
    return text
