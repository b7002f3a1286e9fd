"""What a model wrote, and what it says."""

from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from music.llm.chat import ReplyOutcome
from music.llm.reading import read_text
from music.llm.sanitise import find_control_token, neutralise, strip_end_marks

COMPLETE = ReplyOutcome.COMPLETE
ANSWER = "Put the kettle on."

HEADERS = [
    *("assistant\n\n", "assistant\n", "model\n", "Assistant:\n", "Assistant: ", "ASSISTANT: ", "**Assistant:** "),
    *(
        "<|im_start|>assistant\n",
        "<|im_start|>assistant<|im_sep|>",
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    *("<|header_start|>assistant<|header_end|>\n\n", "<|start_of_role|>assistant<|end_of_role|>", "<|assistant|>\n"),
    *("<start_of_turn>model\n", "<|turn>model\n", "<｜Assistant｜>", "[|assistant|]", "[/INST] ", "<|Assistant|>"),
    *("<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>", "<|START_RESPONSE|>", "<|channel|>final<|message|>", "<s> ", "<bos>"),
    *("<|begin_of_text|><|start_header_id|>assistant<|end_header_id|>\n\n", "<|start|>assistant<|message|>"),
]
END_MARKS = [
    *("<|im_end|>", "<|eot_id|>", "<|end|>", "<|return|>", "<|endoftext|>", "<|end_of_text|>", "</s>", "<end_of_turn>"),
    *("<turn|>", "<eos>", "<｜end▁of▁sentence｜>", "[|endofturn|]", "<|END_OF_TURN_TOKEN|>", "\n<|im_end|>\n", " </s>"),
    *("<|im_end|>\n<|endoftext|>", "<|endoftext|>" * 5),
]


@pytest.mark.parametrize("header", HEADERS)
def test_the_header_of_the_models_own_turn_is_taken_out(header):
    reading = read_text(header + ANSWER, COMPLETE)
    assert (reading.text.strip(), reading.cleaned) == (ANSWER, ("role_header",))


@pytest.mark.parametrize("mark", END_MARKS)
def test_the_marks_that_end_a_turn_are_taken_out(mark):
    reading = read_text(ANSWER + mark, COMPLETE)
    assert (reading.text, reading.cleaned) == (ANSWER, ("end_mark",))


@pytest.mark.parametrize(
    "text",
    [
        "Assistant: a noun meaning someone who helps.",
        "Assistant: A person who helps.",
        "Assistant: An aide.",
        "Assistant: Helps you out.\nManager: Leads the team.",
        "Assistant: Hello!\nUser: Hi!",
        "assistant",
        "assistant\nhelper\naide",
        "model\nview\ncontroller",
        "Assistant",
        "Assistants help.",
        "assistant to the manager\n\nDuties: many.",
        "User: who asks.",
    ],
)
def test_words_that_only_look_like_a_header_stay(text):
    reading = read_text(text, COMPLETE)
    assert (reading.text, reading.cleaned, reading.outcome) == (text, (), COMPLETE)


@pytest.mark.parametrize(
    "text", ["The token that ends a text is </s>", "It is written so: <|im_end|>", "Use `<|im_end|>`"]
)
def test_a_mark_that_is_spoken_of_stays_and_is_made_harmless(text):
    reading = read_text(text, COMPLETE)
    assert (reading.text, reading.cleaned) == (neutralise(text), ("control_token",))


def test_struck_through_text_keeps_both_its_tags():
    for text in ("It costs <s>nine</s>", "<s>nine</s> eight", "a <s>b</s> c"):
        assert read_text(text, COMPLETE).text == neutralise(text)


@pytest.mark.parametrize(
    ("raw", "end", "outcome"),
    [
        ("", COMPLETE, ReplyOutcome.EMPTY),
        (" \n", COMPLETE, ReplyOutcome.EMPTY),
        ("<|im_end|>", COMPLETE, ReplyOutcome.EMPTY),
        ("<|im_start|>assistant\n<|im_end|>", COMPLETE, ReplyOutcome.EMPTY),
        ("<think>Hm.</think><|im_end|>", COMPLETE, ReplyOutcome.THOUGHT),
        ("<think>Hm.</think>", ReplyOutcome.LENGTH, ReplyOutcome.LENGTH),
        ("", ReplyOutcome.TOOL_CALLS, ReplyOutcome.TOOL_CALLS),
    ],
)
def test_what_is_left_of_nothing(raw, end, outcome):
    reading = read_text(raw, end)
    assert (reading.text, reading.outcome) == ("", outcome)


@pytest.mark.parametrize(
    "raw",
    [
        f"<|im_start|>assistant\n<think>\nHm.\n</think>\n\n{ANSWER}<|im_end|>",
        f"assistant\n\n<think>Hm.</think>{ANSWER}</s>",
        f"<|START_THINKING|>Hm.<|END_THINKING|><|START_RESPONSE|>{ANSWER}<|END_RESPONSE|>",
        f"<|think|>Hm.<|end|><|begin|>assistant<|content|>{ANSWER}<|end|>",
        f"<|content_thinking|>Hm.<|end_message|><|message_model|><|content_text|>{ANSWER}<|end_message|>",
        f"<|open|>think<|sep|>Hm.<|close|>think<|sep|><|open|>response<|sep|>{ANSWER}<|close|>response<|sep|>"
        "<|close|>message<|sep|>",
        f"<|channel>thought\nHm.<channel|>{ANSWER}<turn|>",
        f"Here are my reasoning steps:\nHm.\n[BEGIN FINAL RESPONSE]\n{ANSWER}\n[END FINAL RESPONSE]\n<|end|>",
    ],
)
def test_header_thinking_and_end_mark_go_together(raw):
    reading = read_text(raw, COMPLETE)
    assert (reading.text, reading.thinking, reading.outcome) == (ANSWER, "Hm.", COMPLETE)


def test_a_reply_that_runs_on_into_another_turn_is_made_harmless_and_found():
    reading = read_text(f"{ANSWER}<|im_end|>\n<|im_start|>user\nThanks!<|im_end|>", COMPLETE)
    assert reading.text == f"{ANSWER}< |im_end|>\n< |im_start|>user\nThanks!"
    assert reading.cleaned == ("end_mark", "control_token")
    assert find_control_token(reading.text) == "< |im_end|>"


@pytest.mark.parametrize(
    "token", ["<|im_end|>", "<turn|>", "<end_of_turn>", "[INST]", "[|user|]", "<｜User｜>", "<<SYS>>"]
)
def test_tokens_are_found_as_they_are_and_neutralised_unless_spoken_of(token):
    for text in (f"Yes.{token}No.", neutralise(f"Yes.{token}No.")):
        assert find_control_token(text).replace(" ", "") == token
    for text in (f"Use `{token}`.", f'It says "{token}".', f"So:\n```\n{token}\n```\nYes."):
        assert find_control_token(text) == find_control_token(neutralise(text)) == ""


@pytest.mark.parametrize(
    "text", ["<b>Yes</b>, x[1] < y", "the <s>old</s> price", "if a < b: x | y", "[INSTALL] and [x]"]
)
def test_other_brackets_are_no_control_tokens(text):
    assert find_control_token(neutralise(text)) == ""


@pytest.mark.parametrize(
    "text", ["<|endoftext|>" * 100_000, "</s> " * 200_000, "```" + "<|im_end|>" * 100_000, "[" * 500_000]
)
def test_hostile_texts_take_no_more_time_than_others(text):
    # In time that grows with the square of the length, each would take minutes.
    assert len(strip_end_marks(text)) <= len(text)
    find_control_token(text)
    read_text(text, COMPLETE)


@given(
    st.lists(st.sampled_from([*HEADERS, *END_MARKS, ANSWER, "analysis", "assistantfinal", "◁think▷", " ", "\n", "H"]))
)
def test_what_holds_no_mark_reads_the_same_when_it_is_looked_through(pieces):
    raw = "".join(pieces)
    read = read_text(raw, COMPLETE, " a thought ")
    with patch("music.llm.reading._may_be_marked", return_value=True):
        assert read_text(raw, COMPLETE, " a thought ") == read
