import json
from types import SimpleNamespace

import pytest

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.llm.chat import EndpointError
from music.reward.tokens.contract import UnscorableError
from music_envs.adapters.openrlhf import ChatAgent, agent_executor, as_reward_func
from music_envs.chat.world import ChatWorld

MESSAGES = [{"role": "user", "content": "Name a river."}]
LABEL = json.dumps(MESSAGES)


@pytest.fixture
def tokenizer(make_tokenizer):
    tokenizer = make_tokenizer()
    tokenizer.eos_token = "<|end|>"
    return tokenizer


@pytest.fixture
def prompt(tokenizer):
    return tokenizer.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True)


def too_long(conversations):
    raise UnscorableError("over_long")


def test_a_reward_func_scores_the_conversation_behind_the_text(tokenizer, prompt, reward_length):
    score = as_reward_func(reward_length, tokenizer, floor=-5.0)
    queries = [f"{prompt}The Rhine.<|end|>", f"{prompt}<|end|>", f"{prompt}The Elbe"]
    found = score(queries=queries, prompts=[prompt] * 3, labels=[LABEL] * 3, more=1)
    assert found["rewards"].tolist() == found["scores"].tolist() == [10.0, -5.0, 8.0]
    assert found["extra_logs"]["unscorable"].tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labels": ["river"]}, "messages"),
        ({"labels": [json.dumps([{"role": "user", "content": "Name a tea."}])]}, "chat template renders"),
        ({"queries": ["of a river.<|end|>The Rhine."]}, "begins with its prompt"),
    ],
)
def test_text_that_is_not_surely_these_messages_is_refused(tokenizer, prompt, reward_length, changed, message):
    rows = {"queries": [f"{prompt}The Rhine."], "prompts": [prompt], "labels": [LABEL]} | changed
    with pytest.raises(InvalidInputError, match=message):
        as_reward_func(reward_length, tokenizer, floor=0.0)(**rows)


async def play(agent, prompt, *replies):
    """Play one conversation as OpenRLHF's executor does; return its text and the steps."""
    text = (await agent.reset({"observation": prompt, "label": LABEL}))["observation"]
    steps = []
    for reply in replies:
        state = {"observation_text": text, "action_text": reply, "label": LABEL, "sampling_params": None}
        steps.append(await agent.step(state))
        text += reply + "<|end|>" + steps[-1]["environment_feedback"]  # the token is there, though vLLM's text lacks it
    return text, steps


async def test_an_agent_plays_a_whole_conversation_in_the_templates_own_text(
    tokenizer, prompt, scripted, reward_length
):
    world = ChatWorld(num_turns=3, reward=reward_length, reward_mode="difference", user=scripted("user"))
    text, steps = await play(ChatAgent(world, tokenizer, floor=0.0), prompt, "One.", "Two!!", "Three.")
    assert [step["rewards"].item() for step in steps] == [4.0, 5.0, 6.0]
    assert [step["done"] for step in steps] == [False, False, True]
    said = [
        feedback.split("<|user|>")[1].split("<|end|>")[0] for feedback in (s["environment_feedback"] for s in steps[:2])
    ]
    whole = Conversation.from_messages(MESSAGES).assistant("One.").user(said[0]).assistant("Two!!").user(said[1])
    rendered = tokenizer.apply_chat_template(whole.assistant("Three.").to_messages(), tokenize=False)
    assert text == rendered


@pytest.mark.parametrize(("reward", "reply"), [("length", " <|end|>"), (too_long, "An endless one.")])
async def test_what_cannot_be_scored_ends_with_the_floor_and_is_counted(tokenizer, prompt, reward, reply):
    _, steps = await play(ChatAgent(ChatWorld(num_turns=1, reward=reward), tokenizer, floor=-5.0), prompt, reply)
    assert (steps[0]["rewards"].item(), steps[0]["done"], steps[0]["extra_logs"]) == (-5.0, True, {"unscorable": 1.0})


async def test_a_failing_user_is_an_error_and_no_score(tokenizer, prompt, scripted):
    world = ChatWorld(num_turns=2, reward="length", user=scripted("user", fails={0}))
    with pytest.raises(EndpointError, match="user is down"):
        await play(ChatAgent(world, tokenizer, floor=0.0), prompt, "One.")


class Engine:
    """Stands in for vLLM: replies with texts, and as vLLM does leaves the stop token out of the text."""

    def __init__(self, tokenizer, *replies):
        self.tokenizer, self.replies, self.contexts = tokenizer, list(replies), []

    async def generate(self, tokens, sampling_params, multi_modal_data=None):
        self.contexts.append(self.tokenizer.decode(tokens))
        text = self.replies.pop(0)
        ids = self.tokenizer(text + "<|end|>", add_special_tokens=False)["input_ids"]
        return SimpleNamespace(outputs=[SimpleNamespace(token_ids=ids, text=text, finish_reason="stop")])


async def test_openrlhfs_own_executor_runs_the_agent(gpu_only, tokenizer, prompt, reward_length):
    world = ChatWorld(num_turns=2, reward=reward_length)
    engine = Engine(tokenizer, "One.", "Two.")
    executor = agent_executor(world, tokenizer, floor=0.0)()
    parameters = SimpleNamespace(max_tokens=32, logprobs=None)
    done = await executor.execute(prompt, LABEL, parameters, 512, tokenizer, engine)
    assert done["reward"] == 8.0
    assert [tokenizer.decode(done["observation_tokens"][a:b]) for a, b in done["action_ranges"]] == [
        "One.<|end|>",
        "Two.<|end|>",
    ]
    assert engine.contexts[1].startswith(f"{prompt}One.<|end|><|user|>")
    assert engine.contexts[1].endswith("<|end|><|assistant|>")
