import math
from functools import partial

import numpy as np
import pytest
import trl
from datasets import Dataset

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.reward.tokens.contract import UnscorableError
from music.sandbox.artifacts import BACKBONE
from music_envs.adapters.trl import ChatRollout, TurnLevelGRPOTrainer, as_trl_reward, episode_reward
from music_envs.chat.world import ChatWorld
from music_envs.credit import USER

PROMPT = [{"role": "user", "content": "Name a river."}]


def said(text):
    return [{"role": "assistant", "content": text}]


def grpo_config(tmp_path, **options):
    return trl.GRPOConfig(
        output_dir=str(tmp_path),
        use_cpu=True,
        bf16=False,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        logging_steps=1,
        **{"per_device_train_batch_size": 4, "max_completion_length": 24} | options,
    )


def train(prompts, tmp_path, reward, trainer=trl.GRPOTrainer, num_generations=2, **arguments):
    """Train for two steps; return the batches that the loss was made from, and what the reward function was given."""
    seen, batches = [], []

    def spy(**given):
        seen.append(given | {"rewards": reward(**given)})
        return seen[-1]["rewards"]

    trainer = trainer(
        model=str(BACKBONE),
        reward_funcs=spy,
        train_dataset=Dataset.from_list([{"prompt": messages} for messages in prompts]),
        args=grpo_config(tmp_path, num_generations=num_generations, max_steps=2),
        **arguments,
    )
    score = trainer._generate_and_score_completions
    trainer._generate_and_score_completions = lambda inputs: batches.append(score(inputs)) or batches[-1]
    trainer.train()
    return trainer, batches, seen


def test_grpo_scores_whole_conversations_prompt_and_reply(prompts, reward_length, tmp_path):
    _, batches, seen = train(prompts, tmp_path, as_trl_reward(reward_length))
    assert len(batches) == len(seen) == 2
    for given in seen:
        replies = [completion[0]["content"].strip() for completion in given["completions"]]
        assert given["rewards"] == [len(reply) for reply in replies]


@pytest.mark.filterwarnings("ignore:You are using 'rollout_func'")
def test_grpo_trains_on_the_policys_tokens_alone_of_conversations_of_several_turns(prompts, reward_length, tmp_path):
    world = ChatWorld(num_turns=3, reward=reward_length, reward_mode="difference")
    trainer, batches, seen = train(prompts, tmp_path, episode_reward, rollout_func=ChatRollout(world))
    tokenizer = trainer.processing_class
    for batch, given in zip(batches, seen, strict=True):
        masks = (batch["tool_mask"] * batch["completion_mask"]).bool()
        for row, messages in enumerate(given["conversation"]):
            conversation = Conversation.from_messages(messages)
            shared = len(given["prompts"][row])
            assert given["prompts"][row] == messages[:shared]
            assert conversation.num_turns == 3
            # What is trained on is what the assistant said, and what is masked is what the user said.
            trained = tokenizer.decode(batch["completion_ids"][row][masks[row]], skip_special_tokens=True)
            shown = batch["completion_mask"][row].bool() & ~masks[row]
            masked = tokenizer.decode(batch["completion_ids"][row][shown], skip_special_tokens=True)
            assert trained.split() == " ".join(m["content"] for m in messages[shared::2]).split()
            assert masked.split() == " ".join(m["content"] for m in messages[shared + 1 :: 2]).split()
            assert given["rewards"][row] == sum(given["turn_rewards"][row]) == reward_length([conversation])[0]
        better = [given["rewards"][0] > given["rewards"][1], given["rewards"][2] > given["rewards"][3]]
        advantages = batch["advantages"]
        assert [bool(advantages[0] > advantages[1]), bool(advantages[2] > advantages[3])] == better


def test_a_reply_that_cannot_be_scored_has_no_reward_and_the_others_have_theirs():
    def picky(conversations):
        if any("endless" in c.messages[-1].content for c in conversations):
            raise UnscorableError("too long")
        return [1.0] * len(conversations)

    metrics = {}
    scores = as_trl_reward(picky)(
        prompts=[PROMPT] * 4,
        completions=[said("The Rhine."), said(" \n"), said("An endless one."), said("The Elbe.")],
        log_metric=metrics.__setitem__,
    )
    assert scores == [1.0, None, None, 1.0]
    assert metrics == {"unscorable": 0.5}


@pytest.mark.parametrize(
    ("prompt", "completion", "message"),
    [
        ("Name a river.", "The Rhine.", "messages"),
        (PROMPT, [*said("The Rhine."), *PROMPT], "one assistant message"),
        ([*PROMPT, *said("The Rhine.")], said("The Elbe."), "ends with the user"),
    ],
)
def test_what_is_no_single_reply_to_messages_is_refused(reward_length, prompt, completion, message):
    with pytest.raises(InvalidInputError, match=message):
        as_trl_reward(reward_length)(prompts=[prompt], completions=[completion])


@pytest.fixture
def scripted_policy(language_checkpoint, tmp_path, monkeypatch):
    """Return a trainer whose policy replies with texts, one list for every turn; `contexts` are what it read."""
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")

    class ScriptedPolicy(trl.GRPOTrainer):
        def _generate_single_turn(self, prompt_ids, images, fields, num_generations):
            self.contexts.append([self.processing_class.decode(ids) for ids in prompt_ids])
            return [self.processing_class(text)["input_ids"] for text in self.turns.pop(0)], None

    def make(*turns, **options):
        policy = ScriptedPolicy(
            model=str(language_checkpoint()),
            reward_funcs=episode_reward,
            rollout_func=print,
            train_dataset=Dataset.from_list([{"prompt": PROMPT}]),
            args=grpo_config(tmp_path, num_generations=2, **options),
        )
        policy.turns, policy.contexts = list(turns), []
        return policy

    return make


def test_a_failed_user_and_a_blank_reply_end_their_conversation_alone_without_a_reward(
    scripted_policy, scripted, reward_length
):
    world = ChatWorld(num_turns=2, reward=reward_length, user=scripted("user", fails={1}))
    policy = scripted_policy(["One.<|end|>", "<|end|>", "Two.<|end|>"], ["Three.<|end|>"])
    out = ChatRollout(world)([PROMPT, PROMPT, PROMPT], policy)
    assert out["episode_reward"] == [10.0, None, None]
    assert [len(conversation) for conversation in out["conversation"]] == [4, 1, 2]
    assert all(len(ids) == len(mask) for ids, mask in zip(out["completion_ids"], out["env_mask"], strict=True))
    assert mean_metrics(out) == {
        "episodes/num_turns": pytest.approx(4 / 3),
        "episodes/cut_replies": 0.0,
        "episodes/unscorable": pytest.approx(1 / 3),
        "episodes/user_failed": pytest.approx(1 / 3),
        "episodes/context_full": 0.0,
    }


def mean_metrics(out):
    metrics = {}
    episode_reward(**out, log_metric=metrics.__setitem__)
    return metrics


def test_equal_prompts_meet_the_same_user_and_a_reply_that_was_cut_off_is_closed(scripted_policy, reward_length):
    world = ChatWorld(num_turns=2, reward=reward_length)
    policy = scripted_policy(["One.<|end|>", "One, but cut"], ["Two.<|end|>"] * 2)
    out = ChatRollout(world)([PROMPT, PROMPT], policy)
    closed, cut = policy.contexts[1]
    assert cut == closed.replace("One.<|end|>", "One, but cut<|end|>")
    assert closed.endswith("<|assistant|>")
    assert [sum(mask) for mask in out["env_mask"]] == [
        len(policy.processing_class(text)["input_ids"])
        for text in ("One.<|end|>Two.<|end|>", "One, but cutTwo.<|end|>")
    ]
    assert mean_metrics(out)["episodes/cut_replies"] == 0.25


def test_the_users_of_an_update_do_not_depend_on_the_updates_before_it(scripted_policy, scripted):
    seeds = []
    for step in (0, 1, 1):
        user = scripted()
        policy = scripted_policy(["One.<|end|>"], ["Two.<|end|>"])
        policy.state.global_step = step
        ChatRollout(ChatWorld(num_turns=2, user=user))([PROMPT], policy)
        seeds.append(user.requests[0].seed)
    assert seeds[0] != seeds[1] == seeds[2]


@pytest.mark.parametrize("mode", ["terminal", "difference"])
@pytest.mark.parametrize(("reply", "limit"), [("<|end|>", None), ("An endless one.<|end|>", "endless")])
def test_with_a_floor_silence_and_unscorable_replies_have_the_lowest_score_in_every_mode(
    scripted_policy, reward_length, mode, reply, limit
):
    def picky(conversations):
        if any(limit and limit in c.messages[-1].content for c in conversations):
            raise UnscorableError("too long")
        return [3.0 - score for score in reward_length(conversations)]

    world = ChatWorld(num_turns=2, reward=picky, reward_mode=mode)
    turns = (["One.<|end|>", "One.<|end|>"], [reply, "Two.<|end|>"])
    out = ChatRollout(world, floor=-9.0)([PROMPT, PROMPT], scripted_policy(*turns))
    assert out["episode_reward"] == [-9.0, 3.0 - len("One.Two.")]
    assert out["turn_rewards"][0] == ([0.0, -9.0] if mode == "terminal" else [-1.0, -8.0])
    assert mean_metrics(out)["episodes/unscorable"] == 0.5
    assert ChatRollout(world)([PROMPT, PROMPT], scripted_policy(*turns))["episode_reward"] == [None, -5.0]


def test_an_episode_ends_with_its_last_reward_before_a_reply_no_longer_fits_into_the_context(
    scripted_policy, reward_length
):
    long = "word " * 60 + "<|end|>"
    policy = scripted_policy([long, "One.<|end|>"], [long, "Two.<|end|>"], ["Three.<|end|>"])
    policy.model.config.max_position_embeddings = 450
    out = ChatRollout(ChatWorld(num_turns=3, reward=reward_length))([PROMPT, PROMPT], policy)
    assert out["stop_reason"] == ["context_full", "turn_limit"]
    assert [len(rewards) for rewards in out["turn_rewards"]] == [2, 3]
    assert out["episode_reward"] == [2 * len(long[:-8]), len("One.Two.Three.")]
    longest = max(len(p) + len(c) for p, c in zip(out["prompt_ids"], out["completion_ids"], strict=True))
    assert longest <= 450
    assert mean_metrics(out)["episodes/context_full"] == 0.5


def test_a_prompt_without_room_for_a_reply_is_left_out(scripted_policy):
    prompts = [PROMPT, [{"role": "user", "content": "word " * 400}]]
    policy = scripted_policy(["One.<|end|>"])
    out = ChatRollout(ChatWorld(num_turns=1))(prompts, policy)
    assert out["stop_reason"] == ["turn_limit", "context_full"]
    assert out["episode_reward"][1] is None
    assert sum(out["env_mask"][1]) == 0 < len(out["completion_ids"][1])
    assert mean_metrics(out)["episodes/num_turns"] == 0.5


def test_a_reply_as_long_as_the_context_is_refused(scripted_policy):
    with pytest.raises(InvalidInputError, match="context of 512 tokens, got max_completion_length=512"):
        ChatRollout(ChatWorld())([PROMPT], scripted_policy(max_completion_length=512))


def test_a_policy_that_does_not_stop_where_the_template_ends_a_reply_is_refused(scripted_policy):
    policy = scripted_policy()
    policy.eos_token_ids = [1]
    with pytest.raises(InvalidInputError, match=r"one of \['<\|bos\|>'\], got '<\|end\|>': add it to the model's"):
        ChatRollout(ChatWorld())([PROMPT], policy)


def test_one_unscorable_reply_costs_few_calls_of_the_reward(scripted_policy):
    calls = []

    def picky(conversations):
        calls.append(len(conversations))
        if any("endless" in c.messages[-1].content for c in conversations):
            raise UnscorableError("too long")
        return [1.0] * len(conversations)

    replies = ["One.<|end|>"] * 16
    replies[5] = "endless<|end|>"
    out = ChatRollout(ChatWorld(num_turns=1, reward=picky))([PROMPT] * 16, scripted_policy(replies))
    assert [i for i, reward in enumerate(out["episode_reward"]) if reward is None] == [5]
    assert len(calls) == 9


def test_trl_takes_nothing_from_completions_without_a_reward(prompts, tmp_path):
    scores = iter([[None, 1.0, 3.0, None], [None] * 4])

    def some(**_):
        return next(scores)

    _, batches, _ = train(prompts, tmp_path, some, num_generations=4)
    spread = math.sqrt(2) + 1e-4
    assert batches[0]["advantages"].tolist() == pytest.approx([0.0, -1 / spread, 1 / spread, 0.0])
    assert batches[1]["advantages"].tolist() == [0.0] * 4


@pytest.mark.filterwarnings("ignore:You are using 'rollout_func'")
def test_each_reply_has_the_advantage_of_its_turn_and_trl_logs_the_metrics(prompts, reward_length, tmp_path):
    world = ChatWorld(num_turns=2, reward=reward_length, reward_mode="per_turn")
    trainer = partial(TurnLevelGRPOTrainer, discount=0.0)
    trained, batches, seen = train(prompts, tmp_path, episode_reward, trainer, rollout_func=ChatRollout(world))
    assert [row["episodes/num_turns"] for row in trained.state.log_history if "reward" in row] == [2.0, 2.0]
    for batch, given in zip(batches, seen, strict=True):
        assert batch["advantages"].shape == batch["completion_ids"].shape
        rewards = np.array(given["turn_rewards"]).reshape(2, 2, 2)  # [groups, completions, turns]
        centred = (rewards - rewards.mean(axis=1, keepdims=True)).reshape(4, 2)
        expected = centred / np.sqrt((centred**2).mean())
        for row, turns, by_turn in zip(batch["advantages"], given["token_turns"], expected, strict=True):
            assert row[: len(turns)].tolist() == pytest.approx([0 if t == USER else by_turn[t] for t in turns])
            assert not row[len(turns) :].any()


def test_rollouts_without_turns_and_a_wrong_discount_are_refused(prompts, reward_length, tmp_path):
    with pytest.raises(InvalidInputError, match="returns no token_turns and no turn_rewards"):
        train(prompts, tmp_path, as_trl_reward(reward_length), TurnLevelGRPOTrainer)
    with pytest.raises(InvalidInputError, match=r"between 0 and 1, got 1\.5"):
        TurnLevelGRPOTrainer(discount=1.5)


@pytest.mark.parametrize("content", [None, "", [], [{"type": "text", "text": " "}]])
def test_a_reply_that_calls_a_tool_and_says_nothing_has_no_score(reward_length, content):
    reply = [{"role": "assistant", "content": content, "tool_calls": [{"type": "function"}]}]
    parts = [{"role": "assistant", "content": [{"type": "text", "text": "Rhine"}]}]
    scores = as_trl_reward(reward_length)([PROMPT] * 3, [reply, said("Rhine"), parts])
    assert scores[0] is None
    assert scores[1] == scores[2] is not None


def test_prompts_may_hold_tool_messages_and_content_in_parts(reward_length):
    prompt = [
        {"role": "user", "content": [{"type": "text", "text": "Name a river."}]},
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "find", "arguments": "{}"}}]},
        {"role": "tool", "content": "Rhine"},
    ]
    assert as_trl_reward(reward_length)([prompt], [said("The Rhine.")]) == as_trl_reward(reward_length)(
        [PROMPT], [said("The Rhine.")]
    )
