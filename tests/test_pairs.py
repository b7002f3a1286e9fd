import json

import pytest
from pydantic import ValidationError

from music import ContrastivePair, Conversation, PreferencePair, TurnContrast, Usage

SEED = Conversation().user("Hi").assistant("Hello.")


def contrastive():
    return ContrastivePair(
        id="p",
        chosen=SEED.user("More?").assistant("Yes."),
        rejected=SEED.user("More?").assistant("Blue."),
        source="set",
        seed_id="s",
        num_seed_messages=2,
        contrasts=(TurnContrast(turn=0, strategy="instruction", modified_instruction="Which?"),),
        models={"user": "m"},
        usage=Usage(num_calls=4),
        seed=1,
    )


def test_sides_must_differ():
    with pytest.raises(ValidationError, match="identical sides"):
        PreferencePair(id="p", chosen=SEED, rejected=SEED)


@pytest.mark.parametrize("side", [Conversation(), SEED.user("More?")])
@pytest.mark.parametrize("name", ["chosen", "rejected"])
def test_sides_must_end_with_the_assistant(name, side):
    with pytest.raises(ValidationError, match=f"{name} side to end with an assistant message"):
        PreferencePair(**({"id": "p", "chosen": SEED, "rejected": SEED} | {name: side}))


def test_usages_add_up():
    total = Usage(num_calls=1, prompt_tokens=10) + Usage(num_calls=2, completion_tokens=5)
    assert total == Usage(num_calls=3, prompt_tokens=10, completion_tokens=5)


def test_row_holds_message_lists_and_every_record_as_plain_json():
    row = contrastive().to_row()
    assert row["chosen"][-1] == {"role": "assistant", "content": "Yes."}
    assert row["rejected"][:2] == SEED.to_messages()
    assert set(row) == set(ContrastivePair.model_fields)
    assert json.loads(json.dumps(row)) == row


def test_contrast_needs_a_turn():
    with pytest.raises(ValidationError):
        TurnContrast(turn=-1, strategy="instruction", modified_instruction="x")
