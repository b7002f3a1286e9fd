"""The contract checkers pass what keeps the contract, and name what a broken role or contrast breaks."""

from dataclasses import replace

import pytest

from music.llm.chat import EndpointUnavailableError
from music.pairs import TurnContrast, Usage
from music.prompts import ContrastStrategy
from music.sandbox import SandboxModel
from music.testing import CheckError
from music_agents import (
    AssistantRole,
    ForgetContrast,
    RoleFailedError,
    RoleSet,
    RoleTurn,
    StaleContrast,
    UserRole,
    WeakerModelContrast,
    make_contrast,
)
from music_agents.contrasts import contrast_names
from music_agents.testing import check_contrast, check_speaker

ASSISTANT = AssistantRole(SandboxModel("good"))


def says(make):
    async def speak(view):
        return make(view)

    return speak


def turn(text="Fine.", **fields):
    return RoleTurn(text=text, usage=Usage(), **fields)


def record(view, **fields):
    return TurnContrast(**{"turn": view.turn, "strategy": "mine", "modified_instruction": "another"} | fields)


def fails(error):
    async def speak(view):
        raise error

    return speak


@pytest.mark.parametrize(("speaker", "part"), [(ASSISTANT, "assistant"), (UserRole(SandboxModel()), "user")])
def test_roles_of_the_package_keep_the_contract(speaker, part):
    check_speaker(speaker, part)


def test_giving_up_now_and_then_is_allowed():
    async def moody(view):
        if view.pair % 2:
            raise EndpointUnavailableError("not now")
        return turn()

    check_speaker(moody)


NUMBERS = iter(range(100))


@pytest.mark.parametrize(
    ("speaker", "told"),
    [
        (says(lambda view: "Fine."), "expected a RoleTurn, got 'Fine.'"),
        (says(lambda view: turn(" \n")), "expected a text that is not blank"),
        (says(lambda view: turn("Fine.<|im_end|>")), r"without control tokens of chat templates, got '<\|im_end\|>'"),
        (says(lambda view: replace(turn(), usage=None)), "expected a Usage and a tuple of retries, got None"),
        (says(lambda view: turn(f"Take {next(NUMBERS)}.")), "expected the same turn for the same view"),
        (says(lambda view: turn(contrast=record(view))), "expected no contrast of a role that is none"),
        (fails(KeyError("x")), "expected RoleFailedError or EndpointError, got KeyError: 'x'"),
        (fails(RoleFailedError("no words")), "it always gave up: no words"),
    ],
)
def test_a_broken_role_is_told_what_it_breaks(speaker, told):
    with pytest.raises(CheckError, match=told):
        check_speaker(speaker)


@pytest.mark.parametrize("contrast", [ForgetContrast(ASSISTANT), StaleContrast(ASSISTANT)])
def test_contrasts_without_a_prompt_keep_the_contract(contrast):
    check_contrast(contrast, assistant=ASSISTANT)


def test_every_registered_contrast_keeps_the_contract():
    models = {"contrast": SandboxModel(), "weaker": SandboxModel("weak")}
    roles = RoleSet(assistant=ASSISTANT, models=models)
    assert isinstance(make_contrast({"weaker_model": 1.0}, roles), WeakerModelContrast)
    for name in contrast_names():
        if name in {*ContrastStrategy, "instruction_two_call", "forget", "stale"}:
            check_contrast(make_contrast({name: 1.0}, roles), assistant=ASSISTANT)


async def test_it_runs_inside_a_loop_too():
    check_contrast(ForgetContrast(ASSISTANT), assistant=ASSISTANT)


@pytest.mark.parametrize(
    ("contrast", "told"),
    [
        (says(lambda view: turn(contrast=record(view, turn=7))), "turn 0: expected a contrast with turn 0 and a strat"),
        (
            says(lambda view: turn(contrast=record(view, strategy=" "))),
            "expected a contrast with turn 0 and a strategy",
        ),
        (says(lambda view: turn("Worse.")), "expected a TurnContrast, or the chosen side's reply; got 'Worse.'"),
        (says(lambda view: turn(view.already_said or "Fine.")), "expected a contrast and two different sides in some"),
        (says(lambda view: turn("", contrast=record(view))), "expected a text that is not blank"),
        (fails(ZeroDivisionError("in mine")), "got ZeroDivisionError: in mine"),
    ],
)
def test_a_broken_contrast_is_told_what_it_breaks(contrast, told):
    with pytest.raises(CheckError, match=told):
        check_contrast(contrast)
