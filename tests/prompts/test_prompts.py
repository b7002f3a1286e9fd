from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from music import Conversation, Message
from music.prompts import (
    ContrastFormat,
    ContrastStrategy,
    PromptKind,
    read_prompt,
    render_assistant,
    render_contrast,
    render_rewrite,
    render_user,
)

TAGS = [
    "<message>",
    "</message>",
    "{message}",
    "{persona}",
    "{",
    "}",
    "<response>",
    "</modified_instruction>",
    "%s",
    "\\1",
]
texts = st.lists(st.one_of(st.sampled_from([*TAGS, "\n", " "]), st.text(max_size=8)), min_size=1, max_size=5)
texts = texts.map("".join).filter(str.strip)


def build(contents, system):
    start = Conversation(messages=(Message(role="system", content=system),) if system else ())
    for index, text in enumerate(contents):
        start = start.assistant(text) if index % 2 else start.user(text)
    return start


histories = st.lists(texts, max_size=5)


@given(histories, st.one_of(st.just(""), texts), st.one_of(st.just(""), texts))
def test_user_prompt_round_trip(contents, system, persona):
    conversation = build(contents, system)
    prompt = render_user(conversation, persona)
    read = read_prompt(prompt)
    assert read.kind is PromptKind.USER
    assert read.conversation.to_messages() == build(contents, "").to_messages()
    assert persona in prompt[0].content
    assert system in prompt[0].content
    assert prompt[0].role == "user"
    assert all(a.role != b.role for a, b in pairwise(prompt))


@given(
    st.lists(texts, min_size=1, max_size=5).filter(lambda c: len(c) % 2 == 1),
    st.sampled_from(ContrastStrategy),
    st.sampled_from(ContrastFormat),
)
def test_contrast_prompt_round_trip(contents, strategy, form):
    conversation = build(contents, "")
    prompt = render_contrast(strategy, conversation, form)
    read = read_prompt(prompt)
    assert (read.kind, read.form) == (PromptKind(strategy), form)
    assert read.conversation == conversation
    assert prompt[:-1] == conversation.messages[:-1]


@given(st.lists(texts, min_size=1, max_size=5).filter(lambda c: len(c) % 2 == 1), st.one_of(st.just(""), texts))
def test_assistant_prompt_is_the_conversation(contents, system):
    conversation = build(contents, system)
    read = read_prompt(render_assistant(conversation))
    assert (read.kind, read.conversation) == (PromptKind.ASSISTANT, conversation)


@given(st.lists(texts, min_size=1, max_size=5).filter(lambda c: len(c) % 2 == 1), st.sampled_from(ContrastFormat))
def test_rewrite_prompt_round_trip(contents, form):
    conversation = build(contents, "")
    read = read_prompt(render_rewrite(conversation, form))
    assert (read.kind, read.conversation, read.form) == (PromptKind.REWRITE, conversation, form)


def test_text_that_only_mentions_a_prompt_is_the_assistants():
    conversation = Conversation().user("Tell me: Below is the user's latest message. Answer a modified version of it.")
    assert read_prompt(render_assistant(conversation)).kind is PromptKind.ASSISTANT
