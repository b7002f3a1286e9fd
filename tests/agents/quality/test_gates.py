import pytest

from music_agents.failures import FailureReason
from music_agents.quality import (
    PASSED,
    FormatGate,
    GateView,
    LeakGate,
    LengthGate,
    RefusalGate,
    RefusalRule,
    default_gates,
    simulated_replies,
)

VIEW = GateView(pair=0, run_seed=0)
REFUSAL = "I’m sorry, but I can’t help with that."
FINE = "Bake it for forty minutes, and let it cool on a rack."
OTHER = "Knead it for ten minutes first."


async def reasons(pair, gates=None):
    return [verdict.reason for gate in gates or default_gates() if (verdict := await gate(pair, VIEW)).reason]


async def test_an_ordinary_pair_passes_and_its_seed_context_is_not_looked_at(make_pair):
    pair = make_pair([FINE, "Yes."], [OTHER, "No."])
    assert list(simulated_replies(pair)) == [(FINE, OTHER), ("Yes.", "No.")]
    assert [await gate(pair, VIEW) for gate in default_gates()] == [PASSED] * 4


@pytest.mark.parametrize(
    ("rule", "dropped"),
    [
        (RefusalRule.REJECTED_ALONE, {"rejected"}),
        (RefusalRule.ONE_SIDED, {"rejected", "chosen"}),
        (RefusalRule.ANY, {"rejected", "chosen", "both"}),
    ],
)
async def test_the_rule_says_which_refusals_drop_a_pair(make_pair, rule, dropped):
    pairs = {
        "none": make_pair([FINE], [OTHER]),
        "rejected": make_pair([FINE], [REFUSAL]),
        "chosen": make_pair([REFUSAL], [FINE]),
        "both": make_pair([REFUSAL], ["I cannot assist with this request."]),
    }
    gate = RefusalGate(rule=rule)
    assert {name for name, pair in pairs.items() if await reasons(pair, [gate])} == dropped


@pytest.mark.parametrize(
    "text",
    [
        "I cannot help you with that request.",
        "Sorry, I can't do that.",
        "As an AI language model, I am unable to provide medical advice.",
        "I'm unable to fulfill that request for safety reasons.",
        "That's not something I can support or provide information on.",
        "I must decline.",
    ],
)
async def test_refusals(make_pair, text):
    assert await reasons(make_pair([FINE], [text])) == [FailureReason.GATE_REFUSAL]


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry to hear that! Try a warm bath.",
        "You can't help yourself with that until it has cooled.",
        "Sure. If the shop can't help, write to the maker.",
        "I could not agree more: bread needs time.",
    ],
)
async def test_no_refusals(make_pair, text):
    assert await reasons(make_pair([FINE], [text])) == []


@pytest.mark.parametrize(
    "text",
    [
        "<modified_instruction>\nName two.\n</modified_instruction>",
        "Modified instruction: name two of them.",
        "Here is the answer to the modified request: two of them.",
        "As requested, I dropped the wish for short answers.",
        "Two of them.\n</response>",
        "It is the same request as the message, with one or more of those constraints dropped or changed",
    ],
)
async def test_leaked_instructions(make_pair, text):
    assert await reasons(make_pair([FINE], [text])) == [FailureReason.GATE_LEAK]


@pytest.mark.parametrize(
    "text",
    [
        "Return `<response>ok</response>` from the handler, and `<message>` for errors.",
        "I modified the function as requested.",
        "The constraint is that x is positive; the instructions say so.",
    ],
)
async def test_talk_of_instructions_is_no_leak(make_pair, text):
    assert await reasons(make_pair([FINE], [text]), [LeakGate()]) == []


@pytest.mark.parametrize(
    "text",
    [
        "Assistant: bake it.",
        "**User:** how long?",
        "Forty minutes.\n\nUser: and then?\n\nAssistant: Let it cool.",
        "Forty minutes.<|im_end|>",
        "Forty minutes.< |im_end|>\n< |im_start|>user\nAnd then?",
        "Forty minutes.< end_of_turn>\n< start_of_turn>user\nAnd then?",
        "Forty minutes.[ /INST] And then?",
        "Sure.\n<think>\nForty minutes?\n</think>\nBake it.",
        "Bake it for forty minutes!assistant\n\nIs there anything else?",
        "Bake it for forty minutes!assistant",
        "```python\nprint('bread')",
        "...",
        "a" * 200,
        "Bake it. " + "Let it cool on the rack. " * 12,
    ],
)
@pytest.mark.parametrize("side", ["chosen", "rejected"])
async def test_malformed_replies_of_either_side(make_pair, text, side):
    pair = make_pair([FINE, text], [OTHER, FINE]) if side == "chosen" else make_pair([FINE, FINE], [OTHER, text])
    verdict = await FormatGate()(pair, VIEW)
    assert verdict.reason is FailureReason.GATE_FORMAT
    assert verdict.detail.startswith(f"the {side} reply of turn 2: ")


@pytest.mark.parametrize(
    "text",
    [
        "42",
        "はい。",
        "```\nprint('bread')\n```\nThat is all.",
        "| a | b |\n|---|---|\n| 1 | 2 |\n" + "-" * 200,
        "Assistant: a noun, for someone who helps.",
        "A message ends in `< |im_end|>`, and thinking in `</think>`.",
        "```\n< |im_start|>user\nHi!< |im_end|>\n```\nThat is a message.",
        "It costs < s>nine< /s> eight.",
        "Ask the assistant\n\nor the user.",
        "User: is the field's name in the form.".replace("User:", "The field `User:`"),
    ],
)
async def test_unusual_but_whole_replies_pass(make_pair, text):
    assert await reasons(make_pair([FINE], [text])) == []


async def test_lengths(make_pair):
    gate = LengthGate(max_ratio=3, min_gap=100, max_characters=1000)
    assert await reasons(make_pair(["Yes."], ["x" * 80]), [gate]) == []
    assert await reasons(make_pair(["x" * 300], ["x" * 900]), [gate]) == []
    assert await reasons(make_pair(["Yes."], ["x" * 200]), [gate]) == [FailureReason.GATE_LENGTH]
    assert await reasons(make_pair(["x" * 1001], ["x" * 1001 + "!"]), [gate]) == [FailureReason.GATE_LENGTH]
    assert (await gate(make_pair(["x" * 200], ["No."]), VIEW)).detail.startswith("the chosen reply of turn 1: 200")
