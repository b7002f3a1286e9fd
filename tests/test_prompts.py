from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from music import Conversation, Message
from music.prompts import (
    ContrastStrategy,
    Part,
    parse_contrast,
    parse_rewrite,
    read_prompt,
    render_assistant,
    render_contrast,
    render_contrast_reply,
    render_rewrite,
    render_rewrite_reply,
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
plain_texts = texts.map(str.strip).filter(
    lambda text: "<response>" not in text and "</" not in text and "<mod" not in text
)


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
    assert read.part is Part.USER
    assert read.conversation.to_messages() == build(contents, "").to_messages()
    assert persona in prompt[0].content
    assert system in prompt[0].content
    assert prompt[0].role == "user"
    assert all(a.role != b.role for a, b in pairwise(prompt))


@given(st.lists(texts, min_size=1, max_size=5).filter(lambda c: len(c) % 2 == 1), st.sampled_from(ContrastStrategy))
def test_contrast_prompt_round_trip(contents, strategy):
    conversation = build(contents, "")
    prompt = render_contrast(strategy, conversation)
    read = read_prompt(prompt)
    assert read.part == strategy
    assert read.conversation == conversation
    assert prompt[:-1] == conversation.messages[:-1]


@given(st.lists(texts, min_size=1, max_size=5).filter(lambda c: len(c) % 2 == 1), st.one_of(st.just(""), texts))
def test_assistant_prompt_is_the_conversation(contents, system):
    conversation = build(contents, system)
    read = read_prompt(render_assistant(conversation))
    assert (read.part, read.conversation) == (Part.ASSISTANT, conversation)


@given(st.lists(texts, min_size=1, max_size=5).filter(lambda c: len(c) % 2 == 1))
def test_rewrite_prompt_round_trip(contents):
    conversation = build(contents, "")
    read = read_prompt(render_rewrite(conversation))
    assert (read.part, read.conversation) == (Part.REWRITE, conversation)


@given(plain_texts)
def test_rewrite_reply_round_trip(instruction):
    assert parse_rewrite("Well.\n" + render_rewrite_reply(instruction) + "\n") == instruction


@pytest.mark.parametrize(
    "text", ["", "And for rose?", "<modified_instruction> </modified_instruction>", render_rewrite_reply("a") + "b"]
)
def test_malformed_rewrite_is_refused(text):
    assert parse_rewrite(text) is None


@given(plain_texts, plain_texts)
def test_contrast_reply_round_trip(instruction, response):
    assert parse_contrast(render_contrast_reply(instruction, response)) == (instruction, response)


def test_contrast_reply_may_be_preceded_by_thoughts_and_followed_by_blanks():
    text = "Let me think.\n" + render_contrast_reply("a\n\nb", "c\n<b>d</b>") + "\n \n"
    assert parse_contrast(text) == ("a\n\nb", "c\n<b>d</b>")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "An answer without tags.",
        "<modified_instruction>a</modified_instruction>",
        "<response>b</response>",
        "<modified_instruction>a</modified_instruction><response>b",
        "<modified_instruction></modified_instruction><response>b</response>",
        "<modified_instruction>a</modified_instruction><response> \n </response>",
        "<response>b</response><modified_instruction>a</modified_instruction>",
        "<modified_instruction>a</modified_instruction><response>b</response> P.S. I changed the request.",
        "<modified_instruction>a</modified_instruction><response>b<response>c</response>",
        "<modified_instruction>a<response>b</response></modified_instruction>",
        "<MODIFIED_INSTRUCTION>a</MODIFIED_INSTRUCTION><RESPONSE>b</RESPONSE>",
    ],
)
def test_malformed_contrast_reply_is_refused(text):
    assert parse_contrast(text) is None


def test_text_that_only_mentions_a_prompt_is_the_assistants():
    conversation = Conversation().user("Tell me: Below is the user's latest message. Answer a modified version of it.")
    assert read_prompt(render_assistant(conversation)).part is Part.ASSISTANT
