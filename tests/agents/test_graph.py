from dataclasses import replace

import pytest
from langgraph.graph import START, StateGraph

from music.conversation import Conversation
from music.llm.chat import ChatReply, EndpointTimeoutError, ReplyOutcome, RequestRejectedError
from music.pairs import TurnContrast, Usage
from music.prompts import PromptKind
from music_agents import FailureReason, RoleFailedError, RoleTurn, build_pair_graph
from music_agents.contrasts import Schedule, ScheduledContrast
from music_agents.failures import RoleStopError
from music_agents.graph import PairContext, PairState, answer_node, run_pair_graph, user_node

USER_FIRST = ("user", "assistant")
SEED = Conversation().user("seed request").assistant("seed answer")


async def run(graph, num_turns=3, seed=SEED, pair=7, run_seed=1):
    num_seed_messages = len(seed.messages)
    context = PairContext(pair=pair, run_seed=run_seed, num_seed_messages=num_seed_messages, num_turns=num_turns)
    return await run_pair_graph(graph, seed, context)


async def test_both_sides_share_the_seed_and_run_all_turns(fake_model, graph_over):
    state = await run(graph_over(fake_model()), num_turns=5)
    for side in ("chosen", "rejected"):
        conversation = state[side]
        assert conversation.prefix(2) == SEED
        assert [m.role for m in conversation.messages[2:]] == ["user", "assistant"] * 5
        Conversation.model_validate(conversation.model_dump())
    assert state["chosen"].messages[2] == state["rejected"].messages[2]
    assert all(a != b for a, b in zip(state["chosen"].messages[3:], state["rejected"].messages[3:], strict=True))
    assert state["usage"] == Usage(num_calls=19, prompt_tokens=190, completion_tokens=19)


async def test_each_side_reads_its_own_history(fake_model, graph_over):
    model = fake_model()
    state = await run(graph_over(model))
    for side in ("chosen", "rejected"):
        for turn in range(3):
            num_before = 2 + 2 * turn
            if (side, turn) != ("rejected", 0):
                assert model.seen(f"7/{side}/{turn}/user/0") == state[side].prefix(num_before)
            assert model.seen(f"7/{side}/{turn}/assistant/0") == state[side].prefix(num_before + 1)


async def test_only_the_response_of_a_contrast_enters_under_the_original_request(fake_model, graph_over):
    state = await run(graph_over(fake_model()))
    for turn, message in enumerate(state["rejected"].messages[3::2]):
        assert message.content == f"contrast 7:rejected:{turn}:assistant:0"
    users = ["user 7:chosen:0:user:0"] + [f"user 7:rejected:{t}:user:0" for t in (1, 2)]
    assert [m.content for m in state["rejected"].messages[2::2]] == users
    modified = [f"modified 7:rejected:{t}:assistant:0" for t in range(3)]
    expected = [TurnContrast(turn=t, strategy="instruction", modified_instruction=modified[t]) for t in range(3)]
    assert state["contrasts"] == tuple(expected)


async def test_in_every_turn_the_calls_of_a_pair_take_turns_the_chosen_side_first(fake_model, graph_over):
    model = fake_model()  # which refuses a second call of a pair while one is in flight
    await run(graph_over(model), num_turns=2)
    expected = [
        f"7/{side}/{turn}/{part}/0"
        for turn in range(2)
        for part in ("user", "assistant")
        for side in ("chosen", "rejected")
    ]
    expected.remove("7/rejected/0/user/0")  # both sides begin with the same message
    assert [request.key for request in model.requests] == expected
    assert {request.route for request in model.requests} == {"7"}


async def test_an_empty_seed_begins_with_the_user(fake_model, graph_over):
    state = await run(graph_over(fake_model()), seed=Conversation())
    assert state["chosen"].num_turns == state["rejected"].num_turns == 3


@pytest.mark.parametrize(
    ("schedule", "num_shared", "num_calls"), [("all", 1, 19), ("first", 1, 19), ("turns:3", 5, 15), ("last", 9, 11)]
)
async def test_the_sides_part_at_the_first_contrasted_reply(fake_model, roles_over, schedule, num_shared, num_calls):
    model = fake_model()
    roles = roles_over(model)
    contrast = ScheduledContrast(roles.contrast, roles.assistant, Schedule.parse(schedule))
    state = await run(build_pair_graph(replace(roles, contrast=contrast)), num_turns=5)
    chosen, rejected = state["chosen"].messages[2:], state["rejected"].messages[2:]
    assert chosen[:num_shared] == rejected[:num_shared]
    assert all(a != b for a, b in zip(chosen[num_shared:], rejected[num_shared:], strict=True))
    assert state["usage"].num_calls == len(model.requests) == num_calls
    assert not [request.key for request in model.requests if model.requests.count(request) > 1]


async def test_a_contrast_that_changed_nothing_parts_nobody(fake_model, roles_over):
    async def echo(view):
        record = TurnContrast(turn=view.turn, strategy="echo", modified_instruction="m")
        return RoleTurn(text=view.other.messages[-1].content, usage=Usage(), contrast=record)

    model = fake_model()
    state = await run(build_pair_graph(replace(roles_over(model), contrast=echo)), num_turns=2)
    assert state["chosen"] == state["rejected"]
    assert [request.key for request in model.requests] == [f"7/chosen/{t}/{p}/0" for t in (0, 1) for p in USER_FIRST]


async def test_sides_draw_from_common_random_numbers(fake_model, graph_over):
    model = fake_model()
    await run(graph_over(model))
    seeds = {request.key: request.seed for request in model.requests}
    for turn in range(3):
        for part in ("user", "assistant"):
            if (turn, part) != (0, "user"):
                assert seeds[f"7/chosen/{turn}/{part}/0"] == seeds[f"7/rejected/{turn}/{part}/0"]
    assert len(set(seeds.values())) == 6
    assert all(0 <= seed < 2**31 for seed in seeds.values())
    other = fake_model()
    await run(graph_over(other), run_seed=2)
    assert not set(seeds.values()) & {request.seed for request in other.requests}


async def test_any_async_callable_plays_a_role(fake_model, roles_over):
    views = []

    async def terse(view):
        views.append(view)
        return RoleTurn(text=f"turn {view.turn} of {view.num_turns}", usage=Usage())

    state = await run(build_pair_graph(replace(roles_over(fake_model()), user=terse)), num_turns=2)
    assert [m.content for m in state["rejected"].messages[2::2]] == ["turn 0 of 2", "turn 1 of 2"]
    assert {(view.side, view.part) for view in views} == {("chosen", "user"), ("rejected", "user")}
    for view in views:
        place = len(view.conversation.messages)
        assert len(view.other.messages) == place + (view.side == "rejected")  # the chosen side has spoken by then


def test_nodes_are_named_after_roles_and_drawn_as_one_chain(fake_model, graph_over):
    drawn = graph_over(fake_model()).get_graph()
    assert set(drawn.nodes) == {"__start__", "user", "assistant", "contrast", "__end__"}
    edges = {(edge.source, edge.target) for edge in drawn.edges}
    assert {("__start__", "user"), ("user", "assistant"), ("assistant", "contrast")} < edges
    assert {("contrast", "user"), ("contrast", "__end__")} < edges


async def test_a_graph_of_ones_own_is_built_from_the_same_nodes(fake_model, roles_over):
    model = fake_model()
    roles = roles_over(model)

    async def shout(view):
        said = await roles.assistant(view)
        return replace(said, text=said.text.upper(), retries=("reply_empty",))

    graph = StateGraph(PairState, context_schema=PairContext)
    graph.add_node("user", user_node(roles.user, then="contrast"))
    graph.add_node("contrast", answer_node(roles.contrast, "rejected", then="shout"))
    graph.add_node("shout", answer_node(shout, "chosen", then="user", name="shout"))
    graph.add_edge(START, "user")
    state = await run(graph.compile(), num_turns=2)
    assert [m.content for m in state["chosen"].messages[3::2]] == [
        f"ASSISTANT 7:CHOSEN:{t}:ASSISTANT:0" for t in (0, 1)
    ]
    assert len(state["rejected"].messages) == len(state["chosen"].messages)
    assert state["retries"] == ("shout:reply_empty",) * 2


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("no format at all", FailureReason.REPLY_UNPARSED),
        (ReplyOutcome.EMPTY, FailureReason.REPLY_EMPTY),
        (ReplyOutcome.LENGTH, FailureReason.REPLY_CUT),
        (ReplyOutcome.CONTENT_FILTER, FailureReason.REPLY_FILTERED),
        (ReplyOutcome.TOOL_CALLS, FailureReason.REPLY_TOOL_CALL),
        (ReplyOutcome.THOUGHT, FailureReason.REPLY_THOUGHT),
    ],
)
async def test_a_useless_reply_is_asked_for_again_then_gives_the_pair_up(fake_model, graph_over, plain, bad, reason):
    def answer(part, conversation, request):
        if request.key.startswith("7/rejected/1/assistant"):
            text = "" if bad in (ReplyOutcome.EMPTY, ReplyOutcome.THOUGHT) else "<modified_instruction>"
            return bad if isinstance(bad, str) and " " in bad else ChatReply(text=text, outcome=bad, model="fake")
        return plain(part, conversation, request)

    model = fake_model(answer)
    with pytest.raises(RoleStopError) as caught:
        await run(graph_over(model))
    assert (caught.value.reason, caught.value.side, caught.value.role, caught.value.turn) == (
        reason,
        "rejected",
        "contrast",
        1,
    )
    tries = [request for request in model.requests if "rejected/1/assistant" in request.key]
    assert [request.key for request in tries] == [f"7/rejected/1/assistant/{attempt}" for attempt in range(3)]
    assert len({request.seed for request in tries}) == 3
    assert "7/rejected/2/user/0" not in {request.key for request in model.requests}


async def test_a_second_attempt_that_parses_is_used_and_both_are_accounted_for(fake_model, graph_over, plain):
    def answer(part, conversation, request):
        if part is PromptKind.INSTRUCTION and request.key.endswith("/0"):
            return "I would rather not."
        return plain(part, conversation, request)

    state = await run(graph_over(fake_model(answer)))
    assert state["rejected"].messages[3].content == "contrast 7:rejected:0:assistant:1"
    assert state["usage"].num_calls == 14
    assert state["retries"] == ("contrast:reply_unparsed",) * 3


async def test_the_number_of_attempts_is_the_contexts(fake_model, graph_over, plain):
    def answer(part, conversation, request):
        if part is PromptKind.INSTRUCTION and int(request.key.rpartition("/")[2]) < 5:
            return "I would rather not."
        return plain(part, conversation, request)

    context = PairContext(pair=7, run_seed=1, num_seed_messages=2, num_turns=1, num_attempts=6)
    state = await run_pair_graph(graph_over(fake_model(answer)), SEED, context)
    assert state["rejected"].messages[-1].content == "contrast 7:rejected:0:assistant:5"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RequestRejectedError("401: no key"), FailureReason.REQUEST_REJECTED),
        (EndpointTimeoutError("300 s"), FailureReason.ENDPOINT_TIMEOUT),
        (RoleFailedError("my own reason"), FailureReason.ROLE_FAILED),
    ],
)
async def test_once_a_role_gave_up_the_other_side_asks_for_nothing_more(fake_model, graph_over, plain, error, reason):
    def answer(part, conversation, request):
        if request.key == "7/chosen/1/user/0":
            raise error
        return plain(part, conversation, request)

    model = fake_model(answer)
    with pytest.raises(RoleStopError, match=str(error)) as caught:
        await run(graph_over(model))
    assert caught.value.reason is reason
    assert (caught.value.side, caught.value.role, caught.value.turn) == ("chosen", "user", 1)
    assert model.requests[-1].key == "7/chosen/1/user/0"
