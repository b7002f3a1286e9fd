import pytest

from music.conversation import Conversation
from music.llm.chat import ChatReply, EndpointTimeoutError, ReplyOutcome, RequestRejectedError
from music.pairs import TurnContrast, Usage
from music.prompts import Part
from music_agents import FailureReason, RoleFailedError, RoleTurn, build_pair_graph
from music_agents.failures import RoleStopError
from music_agents.graph import PairContext, run_pair_graph

SEED = Conversation().user("seed request").assistant("seed answer")


async def run(roles, num_turns=3, seed=SEED, pair=7, run_seed=1):
    graph = build_pair_graph(roles.user, roles.assistant, roles.contrast, num_turns)
    context = PairContext(pair=pair, run_seed=run_seed, num_seed_messages=len(seed.messages))
    return await run_pair_graph(graph, seed, context, num_turns)


async def test_both_sides_share_the_seed_and_run_all_turns(fake_model, roles_over):
    state = await run(roles_over(fake_model()), num_turns=5)
    for side in ("chosen", "rejected"):
        conversation = state[side]
        assert conversation.prefix(2) == SEED
        assert [m.role for m in conversation.messages[2:]] == ["user", "assistant"] * 5
        Conversation.model_validate(conversation.model_dump())
    assert state["chosen"].messages[2] != state["rejected"].messages[2]
    assert state["usage"] == Usage(num_calls=20, prompt_tokens=200, completion_tokens=20)


async def test_each_side_reads_its_own_history(fake_model, roles_over):
    model = fake_model()
    state = await run(roles_over(model))
    for side in ("chosen", "rejected"):
        for turn in range(3):
            num_before = 2 + 2 * turn
            assert model.seen(f"7/{side}/{turn}/user/0") == state[side].prefix(num_before)
            assert model.seen(f"7/{side}/{turn}/assistant/0") == state[side].prefix(num_before + 1)


async def test_only_the_response_of_a_contrast_enters_under_the_original_request(fake_model, roles_over):
    state = await run(roles_over(fake_model()))
    for turn, message in enumerate(state["rejected"].messages[3::2]):
        assert message.content == f"contrast 7:rejected:{turn}:assistant:0"
    assert [m.content for m in state["rejected"].messages[2::2]] == [f"user 7:rejected:{t}:user:0" for t in range(3)]
    expected = [
        TurnContrast(turn=t, strategy="instruction", modified_instruction=f"modified 7:rejected:{t}:assistant:0")
        for t in range(3)
    ]
    assert state["contrasts"] == expected


async def test_an_empty_seed_begins_with_the_user(fake_model, roles_over):
    state = await run(roles_over(fake_model()), seed=Conversation())
    assert state["chosen"].num_turns == state["rejected"].num_turns == 3


async def test_sides_draw_from_common_random_numbers(fake_model, roles_over):
    model = fake_model()
    await run(roles_over(model))
    seeds = {request.key: request.seed for request in model.requests}
    for turn in range(3):
        for part in ("user", "assistant"):
            assert seeds[f"7/chosen/{turn}/{part}/0"] == seeds[f"7/rejected/{turn}/{part}/0"]
    assert len(set(seeds.values())) == 6
    assert all(0 <= seed < 2**31 for seed in seeds.values())
    other = fake_model()
    await run(roles_over(other), run_seed=2)
    assert not set(seeds.values()) & {request.seed for request in other.requests}


async def test_any_async_callable_plays_a_role(fake_model, roles_over):
    views = []

    async def terse(view):
        views.append(view)
        return RoleTurn(text=f"turn {view.turn} of {view.num_turns}", usage=Usage())

    roles = roles_over(fake_model())
    graph = build_pair_graph(terse, roles.assistant, roles.contrast, 2)
    context = PairContext(pair=0, run_seed=0, num_seed_messages=2)
    state = await run_pair_graph(graph, SEED, context, 2)
    assert [m.content for m in state["rejected"].messages[2::2]] == ["turn 0 of 2", "turn 1 of 2"]
    assert {(view.side, view.part) for view in views} == {("chosen", "user"), ("rejected", "user")}


def test_nodes_are_named_after_sides_and_roles(fake_model, roles_over):
    roles = roles_over(fake_model())
    graph = build_pair_graph(roles.user, roles.assistant, roles.contrast)
    names = {"chosen_user", "chosen_assistant", "rejected_user", "rejected_contrast"}
    drawn = graph.get_graph()
    assert names < set(drawn.nodes)
    assert {("chosen_user", "chosen_assistant"), ("rejected_contrast", "rejected_user")} < {
        (edge.source, edge.target) for edge in drawn.edges
    }


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("no format at all", FailureReason.REPLY_UNPARSED),
        (ReplyOutcome.EMPTY, FailureReason.REPLY_EMPTY),
        (ReplyOutcome.LENGTH, FailureReason.REPLY_CUT),
        (ReplyOutcome.CONTENT_FILTER, FailureReason.REPLY_FILTERED),
    ],
)
async def test_a_useless_reply_is_asked_for_again_then_gives_the_pair_up(fake_model, roles_over, plain, bad, reason):
    def answer(part, conversation, request):
        if request.key.startswith("7/rejected/1/assistant"):
            text = "" if bad is ReplyOutcome.EMPTY else "<modified_instruction>"
            return bad if isinstance(bad, str) and " " in bad else ChatReply(text=text, outcome=bad, model="fake")
        return plain(part, conversation, request)

    model = fake_model(answer)
    with pytest.raises(RoleStopError) as caught:
        await run(roles_over(model))
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


async def test_a_second_attempt_that_parses_is_used_and_both_are_accounted_for(fake_model, roles_over, plain):
    def answer(part, conversation, request):
        if part is Part.INSTRUCTION and request.key.endswith("/0"):
            return "I would rather not."
        return plain(part, conversation, request)

    state = await run(roles_over(fake_model(answer)))
    assert state["rejected"].messages[3].content == "contrast 7:rejected:0:assistant:1"
    assert state["usage"].num_calls == 15


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RequestRejectedError("401: no key"), FailureReason.REQUEST_REJECTED),
        (EndpointTimeoutError("300 s"), FailureReason.ENDPOINT_TIMEOUT),
        (RoleFailedError("my own reason"), FailureReason.ROLE_FAILED),
    ],
)
async def test_once_a_role_gave_up_the_other_side_asks_for_nothing_more(fake_model, roles_over, plain, error, reason):
    def answer(part, conversation, request):
        if request.key == "7/chosen/1/user/0":
            raise error
        return plain(part, conversation, request)

    model = fake_model(answer)
    with pytest.raises(RoleStopError, match=str(error)) as caught:
        await run(roles_over(model))
    assert caught.value.reason is reason
    assert (caught.value.side, caught.value.role, caught.value.turn) == ("chosen", "user", 1)
    assert model.requests[-1].key == "7/chosen/1/user/0"
