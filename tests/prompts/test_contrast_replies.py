"""What models write when they are asked for a contrast: read where it is plain, refused with its place where not."""

import json
import pickle
import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from music.prompts import (
    ContrastFormat,
    ReplyFormatError,
    read_contrast,
    read_rewrite,
    render_contrast_reply,
    render_rewrite_reply,
)

MESSAGE = "Which herbs grow well indoors?"
INSTRUCTION = "Which herbs dry well?"
RESPONSE = "Thyme and sage.\n\nHang them up for two weeks."
TAGS = render_contrast_reply(INSTRUCTION, RESPONSE)
PLAIN_JSON = render_contrast_reply(INSTRUCTION, RESPONSE, ContrastFormat.JSON)


def tags(instruction="modified_instruction", response="response", left="<", right=">"):
    return (
        f"{left}{instruction}{right}\n{INSTRUCTION}\n{left}/{instruction.split(' ')[0]}{right}\n"
        f"{left}{response}{right}\n{RESPONSE}\n{left}/{response.split(' ')[0]}{right}"
    )


READ = {
    "as asked": TAGS,
    "on one line": f"<modified_instruction>{INSTRUCTION}</modified_instruction><response>{RESPONSE}</response>",
    "in a fence": f"```\n{TAGS}\n```",
    "in a fence of xml": f"```xml\n{TAGS}\n```",
    "in a fence, with a word before and after": f"Sure:\n\n```xml\n{TAGS}\n```\n\nTell me if you need more.",
    "after a preamble": f"Here is the result in the requested format.\n\n{TAGS}",
    "before a closing remark": f"{TAGS}\n\nI hope this meets your needs!",
    "before an end mark": f"{TAGS}</s>",
    "before an end mark made harmless": f"{TAGS}\n< |im_end|>",
    "with a word between the parts": TAGS.replace("\n<response>", "\n\nAnd the answer:\n\n<response>"),
    "in capital letters": tags("MODIFIED_INSTRUCTION", "RESPONSE"),
    "with hyphens": tags("modified-instruction"),
    "with a space": TAGS.replace("modified_instruction", "modified instruction"),
    "in camel case": tags("modifiedInstruction", "Response"),
    "with an escaped underscore": tags("modified\\_instruction"),
    "with spaces in the tags": TAGS.replace("<response>", "< response >").replace("</response>", "</ response >"),
    "with attributes": TAGS.replace("<response>", '<response lang="en">'),
    "in bold tags": re.sub(r"(<[^>]*>)", r"**\1**", TAGS),
    "in tags of code": re.sub(r"(<[^>]*>)", r"`\1`", TAGS),
    "in square brackets": tags(left="[", right="]"),
    "with escaped angle brackets": TAGS.replace("<", "&lt;").replace(">", "&gt;"),
    "another tag for the answer": tags("modified_instruction", "answer"),
    "another tag for the instruction": tags("modified_request"),
    "without the last tag": TAGS.removesuffix("</response>"),
    "without the last tag, before an end mark": TAGS.removesuffix("</response>") + "<|eot_id|>",
    "without the last tag, in a fence": "```xml\n" + TAGS.removesuffix("\n</response>") + "\n```",
    "without ends": TAGS.replace("</modified_instruction>\n", "").removesuffix("</response>"),
    "without the first end": TAGS.replace("</modified_instruction>\n", ""),
    "headings above the tags": TAGS.replace("<mod", "## Modified instruction\n<mod").replace(
        "<res", "## Response\n<res"
    ),
    "after a thought that quotes the tags": f"<think>\nI write <modified_instruction> first.\n</think>\n{TAGS}",
    "after a thought with a draft": f"<think>\n{tags().replace('Thyme', 'Mint')}\n</think>\n\n{TAGS}",
    "after a thought without its beginning": f"I need <response> last.</think>\n{TAGS}",
    "bold labels": f"**Modified instruction:** {INSTRUCTION}\n\n**Response:** {RESPONSE}",
    "bold labels, colon outside": f"**Modified Instruction**: {INSTRUCTION}\n\n**Response**:\n{RESPONSE}",
    "bold labels on their own lines": f"**Modified Instruction**\n{INSTRUCTION}\n\n**Response**\n{RESPONSE}",
    "headings": f"## Modified instruction\n\n{INSTRUCTION}\n\n## Response\n\n{RESPONSE}",
    "headings of another level": f"### Modified Instruction:\n{INSTRUCTION}\n\n### Answer:\n{RESPONSE}\n",
    "numbered headings": f"# 1. Modified instruction\n{INSTRUCTION}\n# 2. Response\n{RESPONSE}",
    "plain labels": f"Modified Instruction: {INSTRUCTION}\nResponse: {RESPONSE}",
    "labels as the tags are called": f"modified_instruction: {INSTRUCTION}\n\nresponse:\n{RESPONSE}",
    "labels with quotation marks": f'Modified instruction: "{INSTRUCTION}"\n\nResponse: "{RESPONSE}"',
    "labels in a list": f"1. **Modified instruction:** {INSTRUCTION}\n2. **Response:** {RESPONSE}",
    "labels in a fence": f"```\nModified instruction: {INSTRUCTION}\nResponse: {RESPONSE}\n```",
    "labels and rules": f"---\n**Modified instruction:** {INSTRUCTION}\n\n---\n\n**Response:** {RESPONSE}\n\n---",
    "labels after a preamble": f"Sure, here it is.\n\nModified request: {INSTRUCTION}\n\nAnswer: {RESPONSE}",
    "a label that repeats what is answered": f"Modified instruction: {INSTRUCTION}\n"
    f"Answer to the modified instruction: {RESPONSE}",
    "fences of their own": f"**Modified instruction:**\n```\n{INSTRUCTION}\n```\n**Response:**\n```\n{RESPONSE}\n```",
    "labels within the tags": TAGS.replace("Which", "**Modified instruction:** Which").replace(
        "Thyme", "Response: Thyme"
    ),
    "a label, then a tag": f"Modified instruction: {INSTRUCTION}\n\n<response>\n{RESPONSE}\n</response>",
    "a tag, then a label": f"<modified_instruction>{INSTRUCTION}</modified_instruction>\n\nResponse: {RESPONSE}",
    "JSON": PLAIN_JSON,
    "JSON over several lines": json.dumps(json.loads(PLAIN_JSON), indent=2),
    "JSON in a fence": f"```json\n{PLAIN_JSON}\n```",
    "JSON with a word before and after": f"Here you are:\n{PLAIN_JSON}\nI hope this helps!",
    "JSON with other keys": json.dumps({"modifiedInstruction": INSTRUCTION, "Answer": RESPONSE}),
    "JSON with more keys": json.dumps(
        {"id": 1, "modified instruction": INSTRUCTION, "response": RESPONSE, "tone": "x"}
    ),
    "JSON in the other order": json.dumps({"response": RESPONSE, "modified_instruction": INSTRUCTION}),
    "JSON with raw line breaks": PLAIN_JSON.replace("\\n", "\n"),
    "JSON in an object": json.dumps({"result": json.loads(PLAIN_JSON)}),
    "JSON in a list": f"[{PLAIN_JSON}]",
    "JSON after braces": 'Format: {"a": 1} {"b"} \n' + PLAIN_JSON,
}


@pytest.mark.parametrize("name", READ)
def test_what_is_plain_is_read(name):
    assert read_contrast(READ[name], MESSAGE) == (INSTRUCTION, RESPONSE)


REFUSED = {
    "nothing": ("", "expected <modified_instruction> and <response>, got no such mark"),
    "an answer alone": (RESPONSE, "expected <modified_instruction> and <response>, got no such mark"),
    "no response": (f"<modified_instruction>{INSTRUCTION}</modified_instruction>", "expected <response> after"),
    "an unmarked response": (
        f"<modified_instruction>{INSTRUCTION}</modified_instruction>\n\n{RESPONSE}",
        "expected <response> after '</modified_instruction>' (line 1)",
    ),
    "no instruction": (f"<response>{RESPONSE}</response>", "'<response>' (line 1) is one mark too many"),
    "the other order": ("<response>b</response><modified_instruction>a</modified_instruction>", "out of place"),
    "two replies": (f"{TAGS}\n\nOr rather:\n\n{TAGS}", "(line 12) is one mark too many"),
    "two responses": (TAGS + "<response>Rosemary.</response>", "(line 8) is one mark too many"),
    "a draft, then another": (f"Draft:\n{TAGS}\nFinal:\n{TAGS}", "(line 11) is one mark too many"),
    "a response in an instruction": (
        "<modified_instruction>a<response>b</response></modified_instruction>",
        "'</modified_instruction>' (line 1) is one mark too many",
    ),
    "an opening tag that closes": (TAGS.replace("</", "<"), "is one mark too many"),
    "tags that close each other": (
        f"<modified_instruction>{INSTRUCTION}</response><response>{RESPONSE}</modified_instruction>",
        "'</response>' (line 1) is one mark too many",
    ),
    "a label in an open instruction": (
        f"<modified_instruction>{INSTRUCTION}\n**Response:**\n<response>{RESPONSE}</response>",
        "expected </modified_instruction> before '**Response:**' (line 2)",
    ),
    "an unknown tag": (TAGS.replace("response>", "output>"), "expected <response> after"),
    "another part's label": (TAGS.replace("Thyme", "Modified instruction: Thyme"), "got 'Modified instruction:'"),
    "two labels": (f"Modified instruction: {INSTRUCTION}\nResponse: a\nResponse: b", "(line 3) is one mark too many"),
    "a remark that labels cannot end": (
        f"Modified instruction: {INSTRUCTION}\nResponse: {RESPONSE}\n\nNote: I modified the request as asked.",
        "expected a mark at the end of the last part before 'Note: I modified the request as asked.' (line 6)",
    ),
    "a thought without an end": (f"<think>\n{TAGS}", "expected an answer after the thoughts"),
    "a draft in thought, and no answer": (f"<think>{TAGS}</think>", "got no such mark"),
    "a thought in a part": (TAGS.replace("Thyme", "<think>Hm. Thyme"), "expected an answer after the thoughts"),
    "an empty instruction": ("<modified_instruction> </modified_instruction><response>b</response>", "got nothing"),
    "an empty response": (TAGS.replace(RESPONSE, " \n "), "expected text in <response>, got nothing"),
    "a response that is not seen": (TAGS.replace(RESPONSE, "\u200b\ufeff"), "expected text in <response>, got nothing"),
    "a block of YAML": (f"modified_instruction: {INSTRUCTION}\nresponse: |\n  {RESPONSE}", "got a block of YAML"),
    "JSON that breaks off": (PLAIN_JSON[:-4], "expected a whole JSON object"),
    "JSON without a response": (json.dumps({"modified_instruction": INSTRUCTION}), "got the fields modified_instr"),
    "JSON with two responses": ('{"modified_instruction": "a", "response": "b", "response": "c"}', "one field 'resp"),
    "JSON with a list": (json.dumps({"modified_instruction": INSTRUCTION, "response": ["a"]}), "with text"),
    "two JSON objects": (f"{PLAIN_JSON}\n{PLAIN_JSON}", "expected one JSON object"),
    "JSON in a response": (tags().replace(RESPONSE, PLAIN_JSON), "expected no mark inside <response>"),
    "tags in JSON": (json.dumps({"modified_instruction": "a", "response": "Use <answer> here"}), "expected no mark"),
    "braces without end": ('{"a":' * 5000 + ' {"modified_instruction": "x"', "expected a whole JSON object"),
    "the prompt's own words": (
        render_contrast_reply("the modified instruction", "the answer to the modified instruction"),
        "expected a text in <modified_instruction>, got the placeholder",
    ),
    "the response's placeholder": (render_contrast_reply(INSTRUCTION, "Your response here."), "in <response>, got the"),
    "a sentence of the prompt": (
        render_contrast_reply("The answer must stand on its own and must not mention the modification.", RESPONSE),
        "got the prompt's own words",
    ),
    "talk of the format": (
        render_contrast_reply(INSTRUCTION, "A JSON object describing a modified instruction."),
        "in <response>, got the prompt's own words",
    ),
    "the revised message": (render_contrast_reply("The revised message.", RESPONSE), "got the placeholder"),
    "what a small model wrote": (
        render_contrast_reply("the edited instruction", "this response"),
        "got the placeholder",
    ),
    "dots": (render_contrast_reply(INSTRUCTION, "..."), "got the placeholder '...'"),
    "an unchanged message": (
        render_contrast_reply(f'"{MESSAGE.upper()}"', RESPONSE),
        "expected something new in <modified_instruction>: it repeats",
    ),
    "the message for a response": (render_contrast_reply(INSTRUCTION, MESSAGE), "something new in <response>"),
    "the instruction for a response": (render_contrast_reply(INSTRUCTION, INSTRUCTION), "something new in <response>"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_be_read_in_two_ways_is_refused_with_its_place(name):
    text, told = REFUSED[name]
    with pytest.raises(ReplyFormatError, match=re.escape(told)) as caught:
        read_contrast(text, MESSAGE)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        render_rewrite_reply(INSTRUCTION),
        f"Here it is:\n{render_rewrite_reply(INSTRUCTION)}\nLet me know.",
        render_rewrite_reply(INSTRUCTION, ContrastFormat.JSON),
        f"**Modified instruction:** {INSTRUCTION}",
        f"<modified_instruction>{INSTRUCTION}",
        TAGS,  # answered as well, which nobody needs
    ],
)
def test_a_rewrite_is_read_as_a_contrast_is(text):
    assert read_rewrite(text, MESSAGE) == INSTRUCTION


@pytest.mark.parametrize(
    "text",
    [
        "",
        INSTRUCTION,
        "<modified_instruction> </modified_instruction>",
        render_rewrite_reply("the modified version"),
        render_rewrite_reply("The modified version is highly related to the message."),
        render_rewrite_reply(MESSAGE),
        render_rewrite_reply("a") + render_rewrite_reply("b"),
        f"<response>{RESPONSE}</response>",
    ],
)
def test_a_rewrite_of_nothing_is_refused(text):
    with pytest.raises(ReplyFormatError):
        read_rewrite(text, MESSAGE)


words = st.text(alphabet="abcdef {}[]\"'\\*#:-\n.é%", min_size=1, max_size=30).map(str.strip)
parts = words.filter(lambda text: any(c.isalnum() for c in text) and text not in ("a", "an"))


@given(parts, parts, st.sampled_from(ContrastFormat))
def test_whatever_is_written_in_a_format_is_read_back(instruction, response, form):
    try:
        assert read_contrast(render_contrast_reply(instruction, response, form)) == (instruction, response)
    except ReplyFormatError as error:
        assume(not re.search("placeholder|something new|own words", str(error)))
        raise


@given(parts, parts)
def test_a_word_before_changes_nothing(instruction, response):
    """What is written as asked is read in one step; with a word before it, by its marks."""
    text = render_contrast_reply(instruction, response)
    results = []
    for reply in (text, f"Sure: {text}"):
        try:
            results.append(read_contrast(reply))
        except ReplyFormatError as error:
            results.append(str(error))
    assert results[0] == results[1]


FRAGMENTS = ["<modified_instruction>", "</modified_instruction>", "<response>", "</response>", "<RESPONSE>", "\n"]
FRAGMENTS += [
    "**Modified instruction:** ",
    "\n## Response\n",
    "\nResponse: ",
    "Modified Instruction: ",
    "```\n",
    "one ",
]
FRAGMENTS += ['{"modified_instruction": "', '", "response": "', '"}', "<think>", "</think>", "two ", "three ", "four. "]
BEGINS = {
    "instruction": r"<modified_instruction>|modified instruction:|\"modified_instruction\": ",
    "response": r"<response>|response:|## response|\"response\": ",
}


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=14).map("".join))
@example(f"<think>{TAGS}</think>")
@example("Modified Instruction: one <response>two \nResponse: three ")
def test_what_is_read_stood_between_its_marks_and_nothing_else_did(text):
    try:
        instruction, response = read_contrast(text)
    except ReplyFormatError:
        return
    rest = text.rpartition("</think>")[2]
    assert "<think>" not in rest
    # Each part follows a mark of its own, which begins no second part anywhere.
    for name, part in (("instruction", instruction), ("response", response)):
        begins = [m.end() for m in re.finditer(BEGINS[name], rest, re.IGNORECASE)]
        assert any(re.match(rf'[\s*:"]*{re.escape(part[:5])}', rest[begin:]) for begin in begins)
    assert rest.index(instruction) <= rest.rindex(response)
    assert not re.search("|".join(map(re.escape, FRAGMENTS[:5])), instruction + response)
