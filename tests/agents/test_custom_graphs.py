"""Pair graphs of one's own: what they may do, what they are held to, and how the command takes them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Literal, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import Command

from music.cli import main
from music.conversation import Conversation
from music.llm import Sampling
from music_agents import (
    AssistantRole,
    FailedPair,
    FailureReason,
    InstructionContrast,
    PairContext,
    PairGraphError,
    PairState,
    RoleSet,
    RoleTurn,
    SimulationConfig,
    UnfitReplyError,
    UserRole,
    answer_node,
    ask,
    run_simulation,
    simulate,
    speak,
    user_node,
)
from music_agents.graph import view_of
from music_agents.progress import RunProgress
from music_agents.quality import read_saved_pairs

EXAMPLES = Path(__file__).parents[2] / "examples"


def graph_with(roles, **nodes):
    """The standard nodes with others besides them or in their place; the user speaks first."""
    graph = StateGraph(PairState, context_schema=PairContext)
    graph.add_node("user", nodes.pop("user", None) or user_node(roles.user, then="assistant"))
    graph.add_node("assistant", nodes.pop("assistant", None) or answer_node(roles.assistant, "chosen", then="contrast"))
    graph.add_node("contrast", nodes.pop("contrast", None) or answer_node(roles.contrast, "rejected", then="user"))
    for name, node in nodes.items():
        graph.add_node(name, node)
    graph.add_edge(START, "user")
    return graph


def critic_graph(roles):
    """Lets the assistant's model say a second time what it said."""

    async def critic(state: PairState, runtime: Runtime[PairContext]) -> Command[Literal["contrast"]]:
        draft = state["chosen"]

        async def revise(view):
            messages = draft.messages
            answer = await ask(
                roles.models["assistant"], view, messages, roles.sampling_of("assistant"), str.strip, step="critic"
            )
            return RoleTurn(text=f"revised: {answer.content}", usage=answer.usage, retries=answer.retries)

        history = draft.prefix(len(draft.messages) - 1)
        update = await speak(revise, "critic", state | {"chosen": history}, "chosen", runtime.context)
        return Command(update=update, goto="contrast")

    assistant = answer_node(roles.assistant, "chosen", then="critic")
    return graph_with(roles, assistant=assistant, critic=critic).compile()


@pytest.fixture
def roles(fake_model):
    model = fake_model()
    return RoleSet(user=UserRole(model, gates=()), assistant=AssistantRole(model), contrast=InstructionContrast(model))


async def outcomes(seeds, graph, **settings):
    return [outcome async for outcome in simulate(seeds, graph, **settings)]


async def test_a_critic_revises_what_the_other_roles_then_see(seeds, fake_model, tmp_path):
    model = fake_model()
    models = {"user": model, "assistant": model, "contrast": model}
    config = SimulationConfig(num_pairs=3, num_turns=2, gates=False)
    report = await run_simulation(config, tmp_path, models=models, seeds=seeds, graph=critic_graph)
    assert report.spending.num_calls == 3 * (2 * 5 - 1)
    for pair in read_saved_pairs(tmp_path):
        said = [m.content for m in pair.chosen.messages[pair.num_seed_messages :] if m.role == "assistant"]
        assert len(said) == 2
        assert all(text.startswith("revised: ") for text in said)
        assert pair.usage.num_calls == 9
    second_users = [request for request in model.requests if "/chosen/1/user/" in request.key]
    assert len(second_users) == 3
    assert all("revised: " in request.messages[-1].content for request in second_users)


async def test_replies_of_a_node_of_ones_own_are_resumed_and_not_paid_for_twice(seeds, fake_model, tmp_path):
    model = fake_model()
    models = {"user": model, "assistant": model, "contrast": model}
    config = SimulationConfig(num_pairs=4, num_turns=2, gates=False)
    progress = RunProgress()

    class Stopping(fake_model):
        async def complete(self, request):
            if "critic" in request.key:
                progress.stop()
            return await super().complete(request)

    stopping = Stopping()
    first = {"user": stopping, "assistant": stopping, "contrast": stopping}
    report = await run_simulation(config, tmp_path, models=first, seeds=seeds, progress=progress, graph=critic_graph)
    assert (report.status, report.num_pairs) == ("interrupted", 0)
    report = await run_simulation(config, tmp_path, models=models, seeds=seeds, graph=critic_graph)
    assert (report.status, report.num_pairs, report.spending.num_calls) == ("complete", 4, 36)
    assert len(stopping.requests) + len(model.requests) == 36


@pytest.mark.parametrize("through_speak", [True, False])
async def test_a_role_that_gives_up_in_a_node_of_ones_own_costs_its_pair_alone(seeds, roles, fake_model, through_speak):
    judge = fake_model(lambda part, conversation, request: " " if request.key.startswith("1/") else "fine")

    async def check(state: PairState, runtime: Runtime[PairContext]) -> Command[Literal["contrast"]]:
        async def role(view):
            answer = await ask(judge, view, view.conversation.messages, Sampling(), read, step="check")
            return RoleTurn(text=answer.content, usage=answer.usage)

        history = state["chosen"].prefix(len(state["chosen"].messages) - 1)
        before = state | {"chosen": history}
        if through_speak:
            return Command(update=await speak(role, "check", before, "chosen", runtime.context), goto="contrast")
        await role(view_of(before, "chosen", runtime.context))
        return Command(goto="contrast")

    graph = graph_with(roles, assistant=answer_node(roles.assistant, "chosen", then="check"), check=check).compile()
    ended = await outcomes(seeds, graph, num_pairs=3, num_turns=1)
    (failed,) = [outcome for outcome in ended if isinstance(outcome, FailedPair)]
    assert (failed.index, failed.reason) == (1, "reply_empty")
    assert failed.role == ("check" if through_speak else "")


def read(text):
    if not text.strip():
        raise UnfitReplyError(FailureReason.REPLY_EMPTY, "it is empty")
    return text


class WithoutUsage(TypedDict):
    chosen: Conversation
    rejected: Conversation


class Lost:
    """Nodes that do what no pair graph may."""

    @staticmethod
    def too_long(roles):
        async def speak_twice(state: PairState, runtime: Runtime[PairContext]) -> Command[Literal["contrast"]]:
            chosen = state["chosen"].user("And now?").assistant("Now this.")
            return Command(update={"chosen": chosen}, goto="contrast")

        assistant = answer_node(roles.assistant, "chosen", then="more")
        return graph_with(roles, assistant=assistant, more=speak_twice).compile()

    @staticmethod
    def other_seed(roles):
        async def forget(state: PairState) -> Command[Literal["contrast"]]:
            fresh = Conversation().user("u").assistant("a")
            return Command(update={"chosen": fresh, "rejected": fresh}, goto=END)

        return graph_with(roles, assistant=forget).compile()

    @staticmethod
    def endless(roles):
        async def wait(state: PairState) -> Command[Literal["assistant"]]:
            return Command(goto="assistant")

        return graph_with(roles, assistant=wait).compile()

    @staticmethod
    def out_of_turn(roles):
        return graph_with(roles, user=answer_node(roles.assistant, "chosen", then="contrast")).compile()

    @staticmethod
    def without_keys(roles):
        async def whole_turn(state: WithoutUsage) -> Command[Literal["__end__"]]:
            one_turn = {side: state[side].user("u").assistant(side) for side in ("chosen", "rejected")}
            return Command(update=one_turn, goto=END)

        graph = StateGraph(WithoutUsage, context_schema=PairContext)
        graph.add_node("turn", whole_turn)
        graph.add_edge(START, "turn")
        return graph.compile()

    @staticmethod
    def not_compiled(roles):
        return graph_with(roles)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (Lost.too_long, r"ended with 4 messages on the chosen side .* expected .* 2 messages \(1 turns\)"),
        (Lost.other_seed, "expected the seed context as it was"),
        (Lost.endless, "took 40 steps and did not end"),
        (Lost.out_of_turn, "'assistant' speaks for the assistant on the chosen side, where the user is next"),
        (Lost.without_keys, "ended without contrasts, retries, usage"),
        (Lost.not_compiled, r"got a StateGraph: end with graph.compile\(\)"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_a_graph_that_breaks_a_rule_is_told_which(seeds, roles, make, told):
    with pytest.raises(PairGraphError, match=told):
        await outcomes(seeds, make(roles), num_pairs=2, num_turns=1)


def test_the_command_takes_a_graph_from_a_file_and_holds_the_run_to_it(tmp_path, capsys):
    copy = tmp_path / "mine.py"
    copy.write_text((EXAMPLES / "critic_graph.py").read_text())
    flags = ["simulate", "sandbox", f"--out={tmp_path / 'run'}", "--num-pairs=2", "--turns=2", "--json"]
    flags.append(f"--graph={copy}:critic_graph")
    assert run(flags) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["num_pairs"], result["spending"]["num_calls"]) == (2, 18)
    copy.write_text(copy.read_text() + "# changed\n")
    assert run(flags) == 1
    assert "graph:" in capsys.readouterr().err


@pytest.mark.parametrize("graph", ["no_such.py:f", "json:no_such", "json:__name__", "nothing"])
def test_a_graph_that_cannot_be_loaded_is_said_in_a_line(tmp_path, capsys, graph):
    assert run(["simulate", "sandbox", f"--out={tmp_path / 'run'}", "--num-pairs=1", f"--graph={graph}"]) == 1
    message = capsys.readouterr().err
    assert f"graph '{graph}': expected" in message
    assert "Traceback" not in message


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("critic_graph.py", "the oracle gives the chosen sides"),
        ("second_contrast_graph.py", "drop_constraint"),
        ("simulate_pairs.py", "== music-0-000000 (9 calls)"),
    ],
)
def test_the_example_runs_alone(name, shown, tmp_path):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, EXAMPLES / name], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout


def run(flags):
    with pytest.raises(SystemExit) as caught:
        main(flags)
    return caught.value.code or 0
