from collections import Counter

import pytest

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.pairs import TurnContrast, Usage
from music.sandbox.model import SandboxModel
from music_agents import RoleTurn, RoleView, make_contrast, register_contrast
from music_agents.contrasts import contrast_names, parse_mix


def view(pair: int, turn: int = 0) -> RoleView:
    asked = Conversation().user("Give me two tips on tea cost. Always end with Onward.")
    return RoleView(
        conversation=asked, side="rejected", part="assistant", turn=turn, num_turns=5, pair=pair, run_seed=3
    )


@pytest.mark.parametrize("name", ["instruction", "drop_constraint"])
async def test_built_in_contrasts_answer_and_record_what_they_answered(name):
    said = await make_contrast({name: 1}, SandboxModel())(view(0))
    assert said.text
    assert said.usage.num_calls == 1
    assert said.contrast is not None
    assert said.contrast.strategy == name
    assert said.contrast.modified_instruction not in ("", said.text)


async def test_a_mixture_keeps_to_one_contrast_per_pair_and_to_its_weights():
    mix = make_contrast({"instruction": 3, "drop_constraint": 1}, SandboxModel())
    drawn = [[(await mix(view(pair, turn))).contrast.strategy for turn in range(3)] for pair in range(200)]
    assert all(len(set(strategies)) == 1 for strategies in drawn)
    counts = Counter(strategies[0] for strategies in drawn)
    assert 120 < counts["instruction"] < 180
    again = [(await mix(view(pair))).contrast.strategy for pair in range(200)]
    assert again == [strategies[0] for strategies in drawn]


async def test_a_registered_contrast_is_found_by_name(monkeypatch):
    monkeypatch.setattr("music_agents.contrasts._REGISTRY", {})

    def shout(model, sampling):
        async def role(view):
            record = TurnContrast(turn=view.turn, strategy="shout", modified_instruction="the same, louder")
            return RoleTurn(text="NO!", usage=Usage(), contrast=record)

        return role

    register_contrast("shout", shout)
    assert contrast_names() == ("shout",)
    assert (await make_contrast({"shout": 1}, SandboxModel())(view(0))).text == "NO!"
    with pytest.raises(InvalidInputError, match="another name"):
        register_contrast("shout", shout)


def test_mixtures_are_read_as_the_command_line_writes_them():
    assert parse_mix("instruction") == {"instruction": 1.0}
    assert parse_mix("instruction=3, drop_constraint") == {"instruction": 3.0, "drop_constraint": 1.0}


@pytest.mark.parametrize("text", ["instruction=many", "instruction,instruction"])
def test_an_unreadable_mixture_is_refused(text):
    with pytest.raises(InvalidInputError):
        parse_mix(text)


@pytest.mark.parametrize("mix", [{}, {"no_such": 1}, {"instruction": 0}, {"instruction": float("nan")}])
def test_a_mixture_of_nothing_known_is_refused(mix):
    with pytest.raises(InvalidInputError, match="expected"):
        make_contrast(mix, SandboxModel())
