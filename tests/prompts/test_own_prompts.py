"""Prompts of one's own: templates that fill in this package's prompts or stand in their place."""

import pytest

from music import Conversation, Message
from music.errors import InvalidInputError
from music.prompts import (
    ContrastFormat,
    ContrastStrategy,
    PromptKind,
    load_contrast_template,
    load_user_template,
    read_prompt,
    render_contrast,
    render_user,
)

ASKED = Conversation().user("What is rye?").assistant("A grain.").user("And {{ spelt }}?")
EACH = list(ContrastStrategy)


@pytest.mark.parametrize("form", ContrastFormat)
@pytest.mark.parametrize("strategy", EACH)
def test_a_contrast_that_changes_nothing_is_the_packages_own(strategy, form):
    template = load_contrast_template("mine", "{% extends base %}", EACH, form)
    assert render_contrast(strategy, ASKED, form, template) == render_contrast(strategy, ASKED, form)


@pytest.mark.parametrize("persona", ["", "A miller."])
@pytest.mark.parametrize("system", [(), (Message(role="system", content="Be brief."),)])
def test_a_user_that_changes_nothing_is_the_packages_own(persona, system):
    template = load_user_template("mine", "{% extends base %}", shows_persona=True)
    for talk in (Conversation(messages=system), Conversation(messages=(*system, *ASKED.messages[:2]))):
        assert render_user(talk, persona, template) == render_user(talk, persona)


@pytest.mark.parametrize("form", ContrastFormat)
def test_a_block_replaces_the_task_and_keeps_message_and_format(form):
    source = "{% extends base %}{% block task %}Be curt ({{ strategy }}). {{ super() }}{% endblock %}"
    template = load_contrast_template("mine", source, EACH, form)
    *history, last = render_contrast(ContrastStrategy.DROP_CONSTRAINT, ASKED, form, template)
    assert tuple(history) == ASKED.messages[:-1]
    assert "</message>\n\nBe curt (drop_constraint). Look through the user's earlier messages" in last.content
    read = read_prompt((*history, last))
    assert (read.kind, read.conversation, read.form) == (PromptKind.DROP_CONSTRAINT, ASKED, form)


def test_a_block_replaces_the_users_task_and_keeps_the_persona():
    template = load_user_template(
        "mine", "{% extends base %}{% block task %}Be rude.{% endblock %}", shows_persona=True
    )
    first, *_ = render_user(ASKED.prefix(2), "A miller.", template)
    assert first.content.endswith("<persona>\nA miller.\n</persona>\n\nBe rude.")
    assert read_prompt((first,)).persona == "A miller."


def test_a_template_that_extends_nothing_is_the_whole_prompt():
    source = "{% if strategy == 'instruction' %}Twist{% else %}Bend{% endif %} this: {{ message }}\n\n{{ format }}"
    template = load_contrast_template("mine", source, EACH, ContrastFormat.TAGS)
    last = render_contrast(ContrastStrategy.INSTRUCTION, ASKED, template=template)[-1]
    assert last.content.startswith("Twist this: And {{ spelt }}?\n\nUse exactly this format:\n\n<modified_instruction>")
    (first,) = render_user(Conversation(), template=load_user_template("mine", "Say hello."))
    assert first.content == "Say hello.\n\nThe conversation has not begun yet: write its first message."


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("{{ message }}", r"mine: expected it to ask for <modified_instruction>; show {{ format }} at the end"),
        ("{{ format }}", r"mine: expected it to show {{ message }}"),
        ("{% extends base %}{% block task %}{{ mood }}{% endblock %}", r"'mood' is undefined \(line 1\)"),
        ("{{ message }}\n{{ format }}\n{{ nope }}", r"'nope' is undefined \(line 3\)"),
        ("{{ message }}\n{% if %}", r"expected a jinja2 template: .*line 2"),
        ("{% include '/etc/hostname' %}", "/etc/hostname"),
        ("{{ message.__class__ }} {{ format }}", "access to attribute '__class__'"),
    ],
)
def test_a_contrast_that_cannot_serve_is_refused(source, told):
    with pytest.raises(InvalidInputError, match=told):
        load_contrast_template("mine", source, EACH, ContrastFormat.TAGS)


def test_a_format_is_needed_as_it_is_asked_for():
    source = "{{ message }} Use <modified_instruction> and <response>."
    load_contrast_template("mine", source, EACH, ContrastFormat.TAGS)
    with pytest.raises(InvalidInputError, match='ask for "modified_instruction"'):
        load_contrast_template("mine", source, EACH, ContrastFormat.JSON)


@pytest.mark.parametrize(
    ("source", "shows_persona", "told"),
    [
        ("Write a message.", True, "expected it to show {{ persona }}"),
        ("{% if nope %}x{% endif %}", False, r"'nope' is undefined \(line 1\)"),
        ("{# nothing #}  ", False, "expected text, got none"),
    ],
)
def test_a_user_that_cannot_serve_is_refused(source, shows_persona, told):
    with pytest.raises(InvalidInputError, match=told):
        load_user_template("mine", source, shows_persona=shows_persona)
