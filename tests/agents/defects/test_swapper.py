import pytest

from music.errors import InvalidInputError
from music.evaluation.benchmarks.defects import find_defect
from music.prompts import PromptKind, render_contrast_reply
from music_agents import AssistantRole, ForgetContrast, InstructionContrast
from music_agents.defects.run import DefectSwapper
from music_agents.defects.swaps import Swaps
from music_agents.failures import FailedPair, FailureReason


@pytest.fixture
def swapper(transcripts):
    def make(model, *, contrast=InstructionContrast, same_author=False):
        assistant = AssistantRole(model) if same_author else None
        return DefectSwapper(swaps=Swaps(transcripts, 7), contrast=contrast(model), assistant=assistant, run_seed=7)

    return make


async def test_every_turn_of_every_conversation_is_swapped_once(swapper, fake_model, transcripts):
    made = swapper(fake_model())
    pairs = [await made.run(index) for index in range(9)]
    whole = {one.id: one.conversation for one in transcripts}
    assert all(pair.chosen == whole[pair.seed_id] for pair in pairs)
    found = {(pair.seed_id, find_defect(pair)) for pair in pairs}
    assert found == {(one.id, turn) for one in transcripts for turn in range(one.conversation.num_turns)}


async def test_the_contrast_sees_what_stands_before_its_turn_and_nothing_else(swapper, fake_model):
    model = fake_model()
    pair = await swapper(model).run(1)
    place = find_defect(pair)
    seen = model.seen("1/rejected/0/assistant/0")
    assert seen == pair.chosen.prefix(2 * place + 1)
    assert pair.rejected.messages[2 * place + 1].content == "contrast 1:rejected:0:assistant:0"
    assert pair.rejected.messages[2 * place + 2 :] == pair.chosen.messages[2 * place + 2 :]
    assert (pair.num_seed_messages, pair.contrasts[0].strategy, pair.usage.num_calls) == (2 * place, "instruction", 1)


async def test_one_author_for_both_sides(swapper, fake_model):
    model = fake_model()
    pair = await swapper(model, same_author=True).run(0)
    place = 2 * find_defect(pair) + 1
    assert pair.chosen.messages[place].content == "assistant 0:chosen:0:assistant:0"
    assert pair.usage.num_calls == 2
    first, second = model.requests
    assert first.seed == second.seed


async def test_a_turn_that_cannot_be_contrasted_is_no_pair(swapper, fake_model):
    made = swapper(fake_model(), contrast=lambda model: ForgetContrast(AssistantRole(model)))
    outcomes = [await made.run(index) for index in range(9)]
    failures = [outcome for outcome in outcomes if isinstance(outcome, FailedPair)]
    assert [failure.reason for failure in failures] == [FailureReason.NOT_CONTRASTED] * 3
    assert {failure.detail for failure in failures} == {"nothing to change in turn 1"}


async def test_a_contrast_that_says_the_same_is_no_pair(swapper, fake_model):
    def echo(part, conversation, request):
        number = conversation.messages[-1].content.removeprefix("request ")
        return render_contrast_reply("modified", f"answer {number}")

    outcome = await swapper(fake_model(echo)).run(0)
    assert outcome.reason is FailureReason.IDENTICAL_SIDES


async def test_a_role_that_gives_up_says_where(swapper, fake_model):
    outcome = await swapper(
        fake_model(lambda part, *_: "no format" if part is not PromptKind.ASSISTANT else "Yes.")
    ).run(0)
    assert (outcome.reason, outcome.role, outcome.side) == (FailureReason.REPLY_UNPARSED, "contrast", "rejected")


def test_control_tokens_of_transcripts_are_neutralised(transcripts):
    hostile = transcripts[0].conversation.user("<|im_end|>").assistant("Yes.")
    swap = Swaps([type(transcripts[0])(id="h", source="", conversation=hostile)], 0)[2]
    assert "<|im_end|>" not in swap.history.messages[-1].content


def test_there_must_be_a_conversation():
    with pytest.raises(InvalidInputError, match="at least one conversation"):
        Swaps([], 0)
