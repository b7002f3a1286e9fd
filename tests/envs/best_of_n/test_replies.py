"""Replies that are cut, that are identical, or that were paid for in vain: all are reported, none is lost."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from music.conversation import StopReason
from music.llm.chat import ChatReply, EndpointUnavailableError, ReplyOutcome, Sampling, TryUsage
from music.llm.local import LocalChatModel
from music.pairs import Usage
from music.sandbox.artifacts import BACKBONE
from music_agents.roles.model_roles import AssistantRole
from music_envs import (
    BestOfNConfig,
    BestOfNEvaluationConfig,
    ChatWorld,
    evaluate_best_of_n,
    load_prompts,
    play_episodes,
    run_best_of_n,
)
from music_envs.best_of_n.report import remarks, selectors_table
from music_envs.cli import _shown

SIZES = BestOfNConfig(num_candidates=3, num_turns=2)


class Model:
    """Answers with what `answers` returns for the number of the call; each call has 10 prompt and 5 reply tokens."""

    name = "model"

    def __init__(self, answers):
        self.answers, self.requests = answers, []

    async def complete(self, request):
        self.requests.append(request)
        answer = self.answers(len(self.requests) - 1)
        if isinstance(answer, Exception):
            raise answer
        text, outcome = answer if isinstance(answer, tuple) else (answer, ReplyOutcome.COMPLETE)
        return ChatReply(text=text, outcome=outcome, model=self.name, prompt_tokens=10, completion_tokens=5)

    async def aclose(self):
        pass


async def select(assistant, user=None, seeds=1, **sizes):
    user = user or Model(lambda number: f"Go on, {number}.")
    config = SIZES.model_copy(update=sizes)
    prompts = load_prompts("sandbox", seeds)
    return await run_best_of_n(prompts, assistant=assistant, user=user, reward=length, config=config)


def length(conversations):
    return [float(len(c.messages[-1].content)) for c in conversations]


async def test_replies_cut_at_the_limit_are_used_and_counted():
    assistant = Model(lambda number: (f"Cut {'x' * number}", ReplyOutcome.LENGTH))
    user = Model(lambda number: ("And then", ReplyOutcome.LENGTH))
    (rollout,) = await select(assistant, user)
    assert rollout.stop_reason is StopReason.TURN_LIMIT
    assert [len(decision.candidates) for decision in rollout.decisions] == [3, 3]
    assert rollout.conversation.messages[-1].content == "Cut xxxxx"
    assert rollout.num_cut == 7  # of two turns of three replies, and a message of the user
    assert rollout.usage.num_calls == 7


async def test_a_local_assistant_and_a_local_user_that_are_bounded_speak():
    model = LocalChatModel(str(BACKBONE))
    bounded = AssistantRole(model, Sampling(max_tokens=3), keeps_cut=True)
    (rollout,) = await select(bounded, model, num_turns=1)
    assert rollout.stop_reason is StopReason.TURN_LIMIT
    assert rollout.num_cut > 0


async def test_identical_candidates_are_counted():
    (rollout,) = await select(Model(lambda number: ["Yes.", "Yes.", "No."][number % 3]))
    assert [decision.num_identical for decision in rollout.decisions] == [1, 1]


async def test_candidates_of_a_local_model_differ_by_default():
    (rollout,) = await select(LocalChatModel(str(BACKBONE)), num_turns=1, num_candidates=4)
    assert rollout.decisions[0].num_identical == 0


async def test_candidates_of_a_local_model_are_generated_in_one_batch(monkeypatch):
    model, sizes = LocalChatModel(str(BACKBONE)), []
    generate = model._model.generate
    monkeypatch.setattr(
        model._model, "generate", lambda **inputs: sizes.append(len(inputs["input_ids"])) or generate(**inputs)
    )
    await select(AssistantRole(model, Sampling(max_tokens=4), keeps_cut=True), num_turns=1, num_candidates=6)
    assert sizes == [6]


async def test_calls_without_a_usable_reply_count_in_the_usage():
    assistant = Model(
        lambda number: "Yes." if number == 0 else ("", ReplyOutcome.EMPTY)
    )  # candidate 0 alone says something
    (rollout,) = await select(assistant, num_turns=1)
    assert len(rollout.decisions[0].candidates) == 1
    num_asked = len(assistant.requests)
    assert num_asked > 3  # the others are asked again
    assert rollout.usage == Usage(num_asked, 10 * num_asked, 5 * num_asked)


class Paying(Model):
    """Every call pays for one try in vain."""

    async def complete(self, request):
        await request.payer.pay(request, TryUsage(prompt_tokens=100, completion_tokens=1))
        return await super().complete(request)


@pytest.mark.parametrize("fails", [False, True])
async def test_tries_that_brought_no_reply_but_were_paid_for_count_in_the_usage(fails):
    assistant = Paying(lambda number: EndpointUnavailableError("down") if fails else f"Reply {number}.")
    (rollout,) = await select(assistant, num_turns=1)
    assert rollout.is_failed is fails
    paid = Usage(3, 300, 3)
    assert rollout.usage == (paid if fails else paid + Usage(3, 30, 15))


def test_the_usage_of_a_user_who_fails_counts_in_its_episode():
    user = Paying(lambda number: "Hello." if number == 0 else EndpointUnavailableError("down"))
    world = ChatWorld(user=user, reward="length")
    (played,) = play_episodes(world, lambda cs: ["Yes."] * len(cs), [0])
    assert played.episode.is_truncated
    assert played.episode.usage == Usage(3, 210, 7)


def test_the_usage_of_openings_that_fail_counts_too():
    user = Paying(lambda number: EndpointUnavailableError("down") if number < 2 else "Hello.")
    (played,) = play_episodes(ChatWorld(user=user, reward="length", num_turns=1), lambda cs: ["Yes."] * len(cs), [0])
    assert played.episode.usage == Usage(4, 310, 8)


@pytest.fixture
async def evaluated():
    config = BestOfNEvaluationConfig(reward="length", num_conversations=2, sizes=SIZES)
    return await evaluate_best_of_n(config)


def text_of(evaluation):
    console = Console(file=io.StringIO(), width=200)
    console.print(_shown(evaluation))
    return console.file.getvalue()


async def test_the_report_says_what_was_cut_what_repeats_and_why_conversations_failed(evaluated):
    (arm,) = evaluated.arms
    assert arm.num_candidates == 2 * 2 * 3
    arm = replace(arm, num_cut=4, num_identical=5, num_failed=1, failures={"the endpoint is down": 1})
    shown = text_of(replace(evaluated, arms=(arm,)))
    assert "length: 1 of 2 conversations failed: the endpoint is down" in shown
    assert "length: 4 replies were cut at the limit of tokens" in shown
    assert "length: 5 of 12 candidates repeat another one of the same choice" in shown
    assert remarks(replace(arm, num_cut=0, num_identical=0, num_failed=0, failures={})) == []


async def test_the_gap_is_explained_only_where_there_is_one(evaluated):
    assert "gap: what" in text_of(evaluated)
    (arm,) = evaluated.arms
    without = replace(arm, grade=None, by_n=tuple(replace(row, grade=None, gap=None) for row in arm.by_n))
    assert "gap: what" not in text_of(replace(evaluated, judge=None, arms=(without,)))


async def test_an_interval_that_one_conversation_cannot_give_is_not_shown():
    config = BestOfNEvaluationConfig(reward="length", num_conversations=1, sizes=SIZES)
    evaluation = await evaluate_best_of_n(config)
    assert "inf" not in text_of(evaluation)
    console = Console(file=io.StringIO(), width=200)
    console.print(selectors_table("one", "oracle", evaluation.arms))
    assert "inf" not in console.file.getvalue()
