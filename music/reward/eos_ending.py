"""Chat templates whose conversations end with EOS, as OpenRLHF feeds them to its reward models.

OpenRLHF strips newlines from the end of the rendered text, puts a space and EOS behind a text that does not end with
EOS, and reads the reward there. `with_eos_ending` writes this into the template, so whatever software renders it does
the same.
"""

__all__ = ["with_eos_ending"]

_COMMENT = "{#- Ends with EOS, where the reward is read: newlines at the end are dropped. -#}"
# `trim_blocks` drops the newline behind the first tag; `+` keeps what `lstrip_blocks` would drop before the last one.
_BEGIN = _COMMENT + "{%- set whole_conversation %}\n"
_END = (
    "{%+ endset %}"
    "{%- if add_generation_prompt %}{{- whole_conversation }}"
    r"{%- else %}{%- set ended = whole_conversation.rstrip('\n') %}"
    "{{- ended }}{{- '' if ended.endswith(eos_token) else ' ' + eos_token }}{%- endif %}"
)


def with_eos_ending(template: str) -> str:
    """Return a chat template whose conversations end with EOS; one that is made so already is returned unchanged."""
    return template if template.startswith(_COMMENT) else _BEGIN + template + _END
