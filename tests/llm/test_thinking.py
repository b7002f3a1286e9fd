"""Thinking at the front of replies, in the forms that models have."""

import pytest

from music.llm.thinking import find_open_mark, find_thinking_mark, split_thinking

THOUGHT = "They want a kettle.\nSo: a kettle."
ANSWER = "Put the kettle on."


@pytest.mark.parametrize(
    ("opens", "closes"),
    [
        ("<think>\n", "\n</think>\n\n"),
        ("<think>", "</think>"),
        ("<think>", " </think>\n"),
        ("<Think>", "</think>"),
        ("<thinking>\n", "\n</thinking>\n"),
        ("<thought>\n", "\n</thought>\n\n"),
        ("<reasoning>", "</reasoning>\n"),
        ("<seed:think>", "</seed:think>"),
        ("<mm:think>", "</mm:think>"),
        ("<think_faster>", "</think_faster>"),
        ("[THINK]", "[/THINK]"),
        ("◁think▷", "◁/think▷"),
        ("<|open|>think<|sep|>", "<|close|>think<|sep|>"),
        ("<|START_THINKING|>", "<|END_THINKING|>"),
        ("<|begin_of_thought|>\n\n", "\n\n<|end_of_thought|>\n\n"),
        ("<|inner_prefix|>", "<|inner_suffix|>"),
        ("<|think:start|>", "<|think:end|>"),
        ("<|channel>thought\n", "<channel|>"),
        ("Here are my reasoning steps:\n", "\n[BEGIN FINAL RESPONSE]\n"),
    ],
)
def test_thinking_is_split_off_with_and_without_its_first_mark(opens, closes):
    assert split_thinking(f"{opens}{THOUGHT}{closes}{ANSWER}") == (THOUGHT, ANSWER)
    assert split_thinking(f" \n{opens}{THOUGHT}{closes}{ANSWER}\n") == (THOUGHT, ANSWER)
    assert split_thinking(f"{THOUGHT}{closes}{ANSWER}") == (THOUGHT, ANSWER)


@pytest.mark.parametrize(
    ("opens", "closes"),
    [
        ("analysis", "assistantfinal"),
        ("Here is my thought process:", "Here is my response:\n"),
        ("Here's my thought process: ", "Here's my response: "),
        ("<|content_thinking|>", "<|end_message|>"),
        ("<|think|>", "<|end|>"),
    ],
)
def test_forms_that_need_their_first_mark(opens, closes):
    after = "<|begin|>assistant<|content|>" if opens == "<|think|>" else ""
    assert split_thinking(f"{opens}{THOUGHT}{closes}{after}{ANSWER}") == (THOUGHT, after + ANSWER)
    assert split_thinking(f"{THOUGHT}{closes}{ANSWER}") == ("", f"{THOUGHT}{closes}{ANSWER}")


def test_harmony_is_read_with_its_tokens():
    text = f"<|channel|>analysis<|message|>{THOUGHT}<|end|><|start|>assistant<|channel|>final<|message|>{ANSWER}"
    thought, answer = split_thinking(text)
    assert thought.startswith(THOUGHT)
    assert answer == ANSWER


@pytest.mark.parametrize("opens", ["<think>\n", "<think>Okay, ", "[THINK]", "<|channel|>analysis<|message|>"])
def test_thinking_that_breaks_off_leaves_no_answer(opens):
    assert split_thinking(opens + THOUGHT) == ((opens + THOUGHT).split(opens.strip("Okay, \n"))[1].strip(), "")


def test_an_empty_block_is_taken_out_and_is_no_thinking():
    assert split_thinking(f"<think>\n\n</think>\n\n{ANSWER}") == ("", ANSWER)


def test_all_thinking_at_the_front_goes():
    assert split_thinking(f"<think>one</think>\n<think>two</think>{ANSWER}") == ("one\n\ntwo", ANSWER)
    assert split_thinking(f"<think>one<think>two</think>three</think>{ANSWER}")[1] == ANSWER
    quoting = "The tag `</think>` ends it, and so does\n```\n<think>\n</think>\n```"
    assert split_thinking(f"<think>We say `</think>`.</think>{quoting}") == ("We say `</think>`.", quoting)


@pytest.mark.parametrize("tag", ["answer", "response", "output", "Output"])
def test_tags_around_the_whole_answer_go_with_the_thinking(tag):
    assert split_thinking(f"<think>{THOUGHT}</think>\n<{tag}>\n{ANSWER}\n</{tag}>\n") == (THOUGHT, ANSWER)
    assert split_thinking(f"<{tag}>{ANSWER}</{tag}>") == ("", f"<{tag}>{ANSWER}</{tag}>")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Kettle.",
        "I think a kettle will do. [1]",
        "Models write <think> before and </think> after it.",
        "<think> is a tag in which models think.",
        "Use `<think>` and `</think>`.",
        'It begins with "<think>", and ends with "</think>".',
        "Do this:\n```\n<think>\nHm.\n</think>\n```\nThat is all.",
        "```xml\n</think>\n```",
        "The block (see </think>) ends there.",
        "analysis of the assistantfinal kind",
        "Analysis shows a kettle.",
        "Here is my thought process: first the kettle, then the cup.",
        "Sure. <think>Is it?</think> It is.",
        "[THINKING] is not it, nor <thinker>.",
    ],
)
def test_talk_of_thinking_stays(text):
    assert split_thinking(text) == ("", text)


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("Sure.\n<think>\nIs it?\n</think>\nIt is.", "<think>"),
        ("Sure. [THINK]Is it?", "[THINK]"),
        ("Use `<think>`.", ""),
        ("Models write <think> before it.", ""),
        ("```\n<think>\n</think>\n```", ""),
        ("<b>Sure</b>, I thought of [1].", ""),
    ],
)
def test_thinking_further_on_is_found_and_talk_of_it_is_not(text, mark):
    assert find_thinking_mark(text) == mark


def test_the_mark_that_a_template_opens_with_is_found_at_the_end_of_the_prompt():
    assert find_open_mark("<|im_start|>assistant\n<think>\n") == "<think>\n"
    assert find_open_mark("<think>\n\n</think>\n\n") == ""
    assert find_open_mark("<|im_start|>assistant\n") == ""


@pytest.mark.parametrize(
    "text",
    [
        "<think></think>" * 40_000,
        "<think>" * 80_000,
        "</think>" * 80_000,
        "`</think>`" * 60_000,
        "<think>`</think>" * 40_000,
        " " * 500_000 + "<think>",
        "analysis" + "assistantfina" * 40_000,
        "```" + "<think>" * 80_000,
        "<think>a</think><answer>" + "</answer> " * 50_000 + "x",
    ],
    ids=range(9),
)
def test_hostile_texts_take_no_more_time_than_others(text):
    # In time that grows with the square of the length, each would take minutes.
    assert len(split_thinking(text)[1]) <= len(text)
    find_thinking_mark(text)
