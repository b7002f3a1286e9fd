"""Plays conversations with SkyRL's own generator and prints what the trainer gets as JSON."""

import asyncio
import json
import sys
import typing
from pathlib import Path

import typing_extensions

typing.TypedDict = typing_extensions.TypedDict  # pydantic needs it before Python 3.12, and SkyRL does not know that

import skyrl_gym  # noqa: E402
from skyrl.train.config import GeneratorConfig, SkyRLGymConfig  # noqa: E402
from skyrl.train.generators.skyrl_gym_generator import SkyRLGymGenerator  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

from music.llm.chat import EndpointUnavailableError  # noqa: E402
from music.pairs import Usage  # noqa: E402
from music.reward.tokens.contract import UnscorableError  # noqa: E402
from music_agents.roles import RoleTurn  # noqa: E402
from music_envs.adapters.skyrl import ChatTextEnv  # noqa: E402
from music_envs.chat.world import ChatWorld  # noqa: E402

SEEN = []
REPLIES = {
    "A river?": ["The Rhine.", "It is long.", "Yes."],
    "Mute?": ["Well.", " \n", "Never."],
    "Endless?": ["endless", "Go on.", "Yes."],
    "Alone?": ["One.", "hang up", "Never."],
    "Full?": ["x" * 60, "y" * 60, "Never."],
}


def length(conversations):
    SEEN.extend(conversation.to_messages() for conversation in conversations)
    if any("endless" in m.content for c in conversations for m in c.messages):
        raise UnscorableError("over_long")
    return [float(sum(len(m.content) for m in c.messages if m.role == "assistant")) for c in conversations]


async def user(view):
    if view.conversation.messages[-1].content == "hang up":
        raise EndpointUnavailableError("user is down")
    return RoleTurn(text=f"Why {view.turn}?", usage=Usage())


class Engine:
    """Stands in for the inference engines: gives each conversation its replies."""

    def __init__(self, tokenizer):
        self.tokenizer, self.prompts = tokenizer, []

    async def generate(self, engine_input, model=None):
        text = self.tokenizer.decode(engine_input["prompt_token_ids"][0])
        self.prompts.append(text)
        replies = next(replies for prompt, replies in REPLIES.items() if prompt in text)
        reply = replies[text.count("<|assistant|>") - 1]
        ids = self.tokenizer(reply + "<|end|>", add_special_tokens=False)["input_ids"]
        return {"responses": [reply], "response_ids": [ids], "stop_reasons": ["stop"]}

    async def finish_session(self, session_id):
        pass


async def main(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.eos_token = "<|end|>"
    results = {}
    for mode in ("difference", "terminal"):

        class Env(ChatTextEnv):
            world = ChatWorld(num_turns=3, user=user, reward=length, reward_mode=mode)
            floor = -5.0
            max_input_length = 160

        Env.tokenizer = tokenizer
        skyrl_gym.register(mode, Env)
        engine = Engine(tokenizer)
        config = GeneratorConfig(max_turns=9, max_input_length=160)
        generator = SkyRLGymGenerator(config, SkyRLGymConfig(max_env_workers=4), engine, tokenizer)
        prompts = [[{"role": "user", "content": prompt}] for prompt in REPLIES]
        output = await generator.generate(
            {"prompts": prompts, "env_classes": [mode] * len(prompts), "env_extras": [{}] * len(prompts)}, True
        )
        results[mode] = {
            "rewards": output["rewards"],
            "masks": output["loss_masks"],
            "texts": [tokenizer.decode(ids) for ids in output["response_ids"]],
            "metrics": {k: v for k, v in output["rollout_metrics"].items() if k.startswith("environment/")},
        }
    print(json.dumps(results | {"seen": SEEN}))


asyncio.run(main(Path(sys.argv[1])))
