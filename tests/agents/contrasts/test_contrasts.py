"""Contrasts stand in the assistant's place, say what they did, and are found by name, with their parameters."""

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.llm.chat import ChatReply, ReplyOutcome
from music.pairs import TurnContrast, Usage
from music.prompts import (
    ContrastFormat,
    ContrastStrategy,
    PromptKind,
    load_contrast_template,
    read_contrast,
    read_prompt,
    render_contrast,
    render_contrast_reply,
    render_rewrite_reply,
)
from music.sandbox.model import SandboxModel
from music_agents.contrasts import (
    Schedule,
    contrast_names,
    make_contrast,
    parse_mix,
    register_contrast,
    registry,
)
from music_agents.failures import FailureReason, RoleFailedError
from music_agents.graph import PairContext, build_pair_graph, run_pair_graph
from music_agents.roles import AssistantRole, RoleSet, RoleTurn, RoleView, SharedScript, UserRole

DOCS = Path(__file__).parents[3] / "docs" / "contrasts.md"
ASKED = (
    Conversation()
    .user("I work as a nurse. Please share two tips on the cost side of bread. Always sign off with Onward.")
    .assistant("Sure. Start small with bread cost. Read up on bread cost. Onward.")
    .user("Same for coffee, please.")
    .assistant("Sure. Keep coffee cost simple. Mind the cost side of coffee. Onward.")
    .user("And what about the safety?")
)


def view(pair: int = 0, turn: int = 2, conversation: Conversation = ASKED) -> RoleView:
    return RoleView(
        conversation=conversation, side="rejected", part="assistant", turn=turn, num_turns=5, pair=pair, run_seed=3
    )


class Listener:
    """Answers by the part it is asked to play, and remembers what it was shown."""

    def __init__(self, name="listener", replies=()):
        self.name = name
        self.shown = []
        self.keys = []
        self.requests = []
        self._replies = list(replies)

    async def complete(self, request):
        prompt = read_prompt(request.messages)
        self.shown.append(prompt.conversation)
        self.keys.append(request.key)
        self.requests.append(request)
        text = self._replies.pop(0) if self._replies else self._answer(prompt.kind)
        return ChatReply(text=text, outcome=ReplyOutcome.COMPLETE, model="m", prompt_tokens=10, completion_tokens=1)

    def _answer(self, part):
        if part is PromptKind.REWRITE:
            return render_rewrite_reply("And what about the gear?")
        return "plain" if part is PromptKind.ASSISTANT else render_contrast_reply("something else", "contrasted")

    async def aclose(self):
        pass


def asking(roles, contrast, **settings):
    """The roles with another model of the contrast."""
    return replace(roles, models={**roles.models, "contrast": contrast}, **settings)


@pytest.fixture
def role_set():
    assistant = Listener("assistant")
    models = {"contrast": Listener("contrast"), "weaker": Listener("weaker")}
    return RoleSet(assistant=AssistantRole(assistant), models=models)


@pytest.fixture
def sandbox():
    model = SandboxModel()
    return RoleSet(assistant=AssistantRole(model), models={"contrast": model, "weaker": SandboxModel("weak")})


@pytest.mark.parametrize("name", list(ContrastStrategy))
async def test_prompted_contrasts_speak_the_answer_and_record_the_modified_instruction(name, role_set):
    said = await make_contrast({name: 1}, role_set)(view())
    assert said.text == "contrasted"
    assert said.usage.num_calls == 1
    assert said.contrast == TurnContrast(turn=2, strategy=name, modified_instruction="something else")
    assert role_set.models["contrast"].shown == [ASKED]


@pytest.mark.parametrize("reply", ["No tags.", render_contrast_reply("a", "b") * 2])
async def test_a_reply_that_breaks_the_format_is_asked_for_again_and_then_given_up(reply, role_set):
    once = asking(role_set, contrast=Listener(replies=[reply]))
    said = await make_contrast({"instruction": 1}, once)(view())
    assert (said.text, said.retries, said.usage.num_calls) == ("contrasted", ("reply_unparsed",), 2)
    always = asking(role_set, contrast=Listener(replies=[reply] * 9))
    with pytest.raises(RoleFailedError) as caught:
        await make_contrast({"instruction": 1}, always)(view())
    assert caught.value.reason is FailureReason.REPLY_UNPARSED


@pytest.mark.parametrize("reply", [render_contrast_reply("And what about the safety?", "Wear gloves."), "No tags."])
async def test_a_contrast_of_nothing_is_asked_for_again_and_told_with_its_place(reply, role_set):
    with pytest.raises(RoleFailedError, match=r"expected (something new|<modified_instruction>).*; it begins"):
        await make_contrast({"instruction": 1}, asking(role_set, contrast=Listener(replies=[reply] * 3)))(view())


@pytest.mark.parametrize("name", [*ContrastStrategy, "instruction_two_call"])
async def test_json_is_asked_for_by_prompt_and_schema_and_either_format_is_read(name, role_set):
    said = {}
    for form in ContrastFormat:
        listener = Listener()
        said[form] = await make_contrast({name: 1}, asking(role_set, contrast=listener, contrast_format=form))(view())
        (request,) = listener.requests
        prompt = request.messages[-1].content
        if form is ContrastFormat.TAGS:
            assert request.json_schema is None
            assert "JSON" not in prompt
        else:
            parts = ["modified_instruction"] if name == "instruction_two_call" else ["modified_instruction", "response"]
            assert request.json_schema["required"] == list(request.json_schema["properties"]) == parts
            assert json.loads(prompt.rpartition("\n")[2]).keys() == set(parts)
            assert "</modified_instruction>" not in prompt
    assert said[ContrastFormat.TAGS].text == said[ContrastFormat.JSON].text  # the listener answers in tags


async def test_the_sandbox_answers_in_the_format_that_it_is_asked_for(sandbox):
    for form in ContrastFormat:
        contrast = make_contrast({"instruction": 1}, replace(sandbox, contrast_format=form))
        text = sandbox.models["contrast"].answer(
            view().request(render_contrast(ContrastStrategy.INSTRUCTION, ASKED, form))
        )
        assert text.startswith("{" if form is ContrastFormat.JSON else "<")
        assert (await contrast(view())).text == read_contrast(text)[1]


async def test_a_prompt_of_ones_own_is_what_the_model_sees(role_set):
    source = "Never mind {{ message }}. Be {{ strategy }}! {{ format }}"
    template = load_contrast_template("mine", source, [ContrastStrategy.INSTRUCTION], ContrastFormat.TAGS)
    listener = Listener(replies=[render_contrast_reply("something else", "contrasted")])
    said = await make_contrast({"instruction": 1}, asking(role_set, contrast=listener, contrast_template=template))(
        view()
    )
    (request,) = listener.requests
    assert request.messages[-1].content.startswith("Never mind And what about the safety?. Be instruction! Use exactly")
    assert said.text == "contrasted"


async def test_in_two_calls_the_assistant_answers_the_rewritten_request(role_set):
    said = await make_contrast({"instruction_two_call": 1}, role_set)(view())
    assert said.text == "plain"
    assert said.usage.num_calls == 2
    assert said.contrast.strategy == "instruction_two_call"
    assert said.contrast.modified_instruction == "And what about the gear?"
    assert role_set.assistant.model.shown == [ASKED.prefix(4).user("And what about the gear?")]
    keys = role_set.models["contrast"].keys + role_set.assistant.model.keys
    assert len(set(keys)) == 2


async def test_a_rewrite_that_changes_nothing_is_of_no_use(role_set):
    same = render_rewrite_reply("And what about the safety?")
    said = await make_contrast({"instruction_two_call": 1}, asking(role_set, contrast=Listener(replies=[same])))(view())
    assert said.retries == ("reply_unparsed",)
    assert said.usage.num_calls == 3


@pytest.mark.parametrize(("spec", "start"), [("forget", 4), ("forget(turns=1)", 4), ("forget(turns=2)", 2)])
async def test_forget_shows_the_assistant_the_last_turns_only(spec, start, role_set):
    said = await make_contrast({spec: 1}, role_set)(view())
    (seen,) = role_set.assistant.model.shown
    assert seen.messages == ASKED.messages[start:]
    assert said.contrast.parameters == {"turns": 3 - start // 2}
    assert said.contrast.modified_instruction == "And what about the safety?"


async def test_forget_keeps_the_system_message(role_set):
    asked = Conversation.from_messages([{"role": "system", "content": "Be brief."}, *ASKED.to_messages()])
    await make_contrast({"forget": 1}, role_set)(view(conversation=asked))
    (seen,) = role_set.assistant.model.shown
    assert [m.content for m in seen.messages] == ["Be brief.", "And what about the safety?"]


async def test_stale_answers_the_previous_request(role_set):
    said = await make_contrast({"stale": 1}, role_set)(view())
    assert role_set.assistant.model.shown == [ASKED.prefix(3)]
    assert said.contrast.modified_instruction == "Same for coffee, please."


@pytest.mark.parametrize(
    "statement", ["It's great that you asked. Bread is made of flour.", "Thanks, that was helpful.", "Photosynthesis."]
)
async def test_stale_leaves_a_turn_plain_in_which_nothing_is_asked(statement, role_set):
    asked = ASKED.prefix(4).user(statement)
    said = await make_contrast({"stale": 1}, role_set)(view(conversation=asked))
    assert (said.contrast, role_set.assistant.model.shown) == (None, [asked])


@pytest.mark.parametrize("spec", ["forget(turns=3)", "stale"])
async def test_a_plain_turn_repeats_the_chosen_reply_while_the_histories_are_the_same(spec, role_set):
    asked = ASKED if spec.startswith("forget") else ASKED.prefix(4).user("It was good.")
    contrast = make_contrast({spec: 1}, role_set)
    said = await contrast(replace(view(conversation=asked), other=asked.assistant("as the chosen side")))
    assert (said.text, said.usage, said.contrast) == ("as the chosen side", Usage(), None)
    other = asked.prefix(2).user("Else?").assistant("Else.").user(asked.messages[-1].content).assistant("parted")
    assert (await contrast(replace(view(conversation=asked), other=other))).text == "plain"


@pytest.mark.parametrize("spec", ["forget", "stale", "forget(turns=3)"])
async def test_a_turn_that_cannot_be_made_worse_is_plain_and_not_on_record(spec, role_set):
    asked = ASKED if spec == "forget(turns=3)" else ASKED.prefix(1)
    said = await make_contrast({spec: 1}, role_set)(view(conversation=asked))
    assert said.contrast is None
    assert role_set.assistant.model.shown == [asked]


async def test_the_weaker_model_answers_the_plain_conversation(role_set):
    said = await make_contrast({"weaker_model": 1}, role_set)(view())
    assert said.text == "plain"
    assert said.contrast.parameters == {"model": "weaker"}
    assert role_set.models["weaker"].shown == [ASKED]
    with pytest.raises(InvalidInputError, match="weaker"):
        make_contrast({"weaker_model": 1}, replace(role_set, models={"contrast": role_set.models["contrast"]}))


@pytest.mark.parametrize("name", list(contrast_names()))
async def test_every_contrast_differs_from_the_plain_reply_somewhere(name, sandbox):
    contrast = make_contrast({name: 1}, sandbox)
    turns = [((await contrast(view(pair))).text, (await sandbox.assistant(view(pair))).text) for pair in range(30)]
    assert sum(spoilt != plain for spoilt, plain in turns) > 5


async def test_a_mixture_keeps_to_one_contrast_per_pair_and_to_its_weights(sandbox):
    mix = make_contrast({"instruction": 3, "drop_constraint": 1}, sandbox)
    drawn = [[(await mix(view(pair, turn))).contrast.strategy for turn in range(3)] for pair in range(200)]
    assert all(len(set(strategies)) == 1 for strategies in drawn)
    counts = Counter(strategies[0] for strategies in drawn)
    assert 120 < counts["instruction"] < 180
    again = [(await mix(view(pair))).contrast.strategy for pair in range(200)]
    assert again == [strategies[0] for strategies in drawn]


@pytest.fixture
def shout(monkeypatch):
    def factory(role_set, times: int, mark: str = "!"):
        async def role(view):
            record = TurnContrast(turn=view.turn, strategy="shout", modified_instruction="louder")
            return RoleTurn(text="NO" + mark * times, usage=Usage(), contrast=record)

        return role

    monkeypatch.setattr(registry, "_REGISTRY", {})
    register_contrast("shout", factory)
    return factory


async def test_a_registered_contrast_is_found_by_name_and_gets_its_parameters_as_their_types(shout, role_set):
    assert contrast_names() == ("shout",)
    assert (await make_contrast(parse_mix("shout(times=3)"), role_set)(view())).text == "NO!!!"
    assert (await make_contrast(parse_mix("shout(times=1, mark=?)=2"), role_set)(view())).text == "NO?"


def test_a_name_is_registered_once_and_can_be_written(shout):
    with pytest.raises(InvalidInputError, match="another name"):
        register_contrast("shout", shout)
    with pytest.raises(InvalidInputError, match="letters"):
        register_contrast("shout(loud)", shout)


@pytest.mark.parametrize("spec", ["shout", "shout(times=many)", "shout(times=1,volume=3)"])
def test_wrong_parameters_are_refused_by_naming_the_known_ones(spec, shout, role_set):
    with pytest.raises(InvalidInputError, match=r"takes times.*mark"):
        make_contrast({spec: 1}, role_set)


def test_forget_cannot_remember_nothing(role_set):
    with pytest.raises(InvalidInputError, match="turns"):
        make_contrast({"forget(turns=0)": 1}, role_set)


@pytest.mark.parametrize(
    ("text", "mix"),
    [
        ("instruction", {"instruction": 1.0}),
        ("instruction=3, drop_constraint", {"instruction": 3.0, "drop_constraint": 1.0}),
        ("instruction=3,forget( turns = 2 )=1", {"instruction": 3.0, "forget(turns=2)": 1.0}),
        ("a(x=1,y=2)=.5,a(x=2)", {"a(x=1,y=2)": 0.5, "a(x=2)": 1.0}),
    ],
)
def test_mixtures_are_read_as_the_command_line_writes_them(text, mix):
    assert parse_mix(text) == mix


@pytest.mark.parametrize(
    "text",
    [
        "",
        "instruction=many",
        "instruction=",
        "instruction,instruction",
        "forget(2)",
        "forget(turns=2",
        "a b",
        "forget()x",
    ],
)
def test_an_unreadable_mixture_is_refused(text):
    with pytest.raises(InvalidInputError):
        parse_mix(text)


@pytest.mark.parametrize("mix", [{}, {"no_such": 1}, {"instruction": 0}, {"instruction": float("nan")}])
def test_a_mixture_of_nothing_known_is_refused(mix, role_set):
    with pytest.raises(InvalidInputError, match="expected"):
        make_contrast(mix, role_set)


async def test_a_shared_script_repeats_the_chosen_user_without_a_call():
    script = SharedScript(AssistantRole(Listener()))
    base = replace(view(conversation=ASKED.prefix(2)), part="user")
    assert (await script(replace(base, side="chosen"))).usage.num_calls == 1
    said = await script(replace(base, other=ASKED.prefix(3)))
    assert (said.text, said.usage) == ("Same for coffee, please.", Usage())
    with pytest.raises(RoleFailedError, match="chosen"):
        await script(replace(base, other=ASKED.prefix(2)))


async def test_on_a_shared_script_both_users_say_the_same_and_the_second_costs_nothing(sandbox):
    model = SandboxModel()
    contrast = make_contrast({"forget": 1}, sandbox, Schedule.parse("turns:2"))
    roles = RoleSet(user=SharedScript(UserRole(model)), assistant=sandbox.assistant, contrast=contrast)
    context = PairContext(pair=0, run_seed=4, num_seed_messages=0, num_turns=5)
    state = await run_pair_graph(build_pair_graph(roles), Conversation(), context)
    users = [[m.content for m in state[side].messages if m.role == "user"] for side in ("chosen", "rejected")]
    assert users[0] == users[1]
    assert state["usage"].num_calls == 14  # the first reply is the same on both sides
    assert [record.turn for record in state["contrasts"]] == [1]
    assert state["chosen"].prefix(3) == state["rejected"].prefix(3)


async def test_the_example_of_the_docs_runs_as_it_stands(monkeypatch, role_set):
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    example, check = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert len([line for line in example.splitlines() if line.strip()]) < 30
    names = {"__name__": "example"}
    exec(example, names)
    exec(check, names)
    said = await make_contrast(parse_mix("tone(tone=rude)"), role_set)(view())
    assert said.contrast.parameters == {"tone": "rude"}
    assert said.contrast.modified_instruction == "And what about the safety? Answer in a rude tone."


def test_the_docs_list_every_contrast():
    listed = re.findall(r"^\| `(\w+)` \|", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    ours = {name for name in contrast_names() if registry._REGISTRY[name].__module__.startswith("music_agents.")}
    assert ours <= set(listed)
