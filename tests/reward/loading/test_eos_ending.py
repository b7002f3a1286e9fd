from importlib.resources import files

import pytest

from music.conversation import Conversation
from music.reward.loading.reading import with_eos_ending
from music.reward.tokens.fixed_date import with_fixed_date

_TEMPLATES = (file for file in (files("trl") / "chat_templates").iterdir() if file.name.endswith(".jinja"))
SHIPPED = {file.name: file.read_text(encoding="utf-8") for file in _TEMPLATES if "_training" not in file.name}
SHIPPED = {name: text for name, text in SHIPPED.items() if "llava" not in name}  # it takes no text
OWN = {
    "blanks": "\n\n  {% for m in messages %}\n  {{ m.content }}  \n{% endfor %}\n  ",
    "text": "  {{ messages[0].content }}\n\n\n",
    "comment": "{# one #}\n{%- set whole = 1 %}{{ messages | length }}",
}
TALKS = [
    Conversation().user("Hi!\n").assistant("  Ho.\n\n"),
    Conversation().user("Hi!").assistant("Ho.<|end|>").user("And?").assistant("<think>\nHm.\n</think>\n\nNo. \n"),
]


@pytest.mark.parametrize("template", [*SHIPPED.values(), *OWN.values()], ids=[*SHIPPED, *OWN])
def test_the_text_is_the_templates_own_with_eos_at_its_end(make_tokenizer, set_clock, template):
    set_clock(2024, 7, 26, 12)
    tokenizer = make_tokenizer()
    tokenizer.eos_token = "<|end|>"

    def render(talk, text, **options):
        return tokenizer.apply_chat_template(talk.to_messages(), chat_template=text, tokenize=False, **options)

    fixed = with_eos_ending(with_fixed_date(template))
    assert with_eos_ending(fixed) == with_fixed_date(fixed) == fixed
    for ending in (with_eos_ending(template), fixed):
        for talk in TALKS:
            own = render(talk, template).rstrip("\n")
            assert render(talk, ending) == (own if own.endswith("<|end|>") else f"{own} <|end|>")
            prompt = talk.prefix(1)
            asked = render(prompt, ending, add_generation_prompt=True)
            assert asked.rstrip() == render(prompt, template, add_generation_prompt=True).rstrip()
