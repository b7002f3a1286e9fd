"""Plays a group of conversations in tinker-cookbook's own rollout loop, and prints what it trains on as JSON."""

import asyncio
import json
import sys

from tinker_cookbook.completers import TokenCompleter, TokensWithLogprobs
from tinker_cookbook.renderers.role_colon import RoleColonRenderer
from tinker_cookbook.rl.rollouts import do_group_rollout
from transformers import AutoTokenizer

from music.conversation import Conversation
from music.llm.chat import EndpointUnavailableError
from music.pairs import PreferencePair, Usage
from music.reward.tokens.contract import UnscorableError
from music_agents.roles import RoleTurn
from music_envs.adapters.tinker import ChatGroupBuilder, as_labeled_comparison, turn_level_data
from music_envs.chat.world import ChatWorld

SEEN = []
SCENES = {
    "played": [["One.", "Two!!"], ["Three.", "Four"]],
    "blank": [["One.", " "]],
    "cut": [["One.", "Two!!<cut>"]],
    "unscorable": [["endless"]],
    "user_failed": [["hang up"]],
    "full": [["x" * 200]],
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


class Scripted(TokenCompleter):
    """Replies to its n-th conversation of a group with the n-th script; conversations take turns in order."""

    def __init__(self, tokenizer, scripts):
        self.tokenizer, self.scripts, self.begun = tokenizer, scripts, 0

    async def __call__(self, model_input, stop, *, max_tokens=None):
        prompt = self.tokenizer.decode(model_input.to_ints())
        turn = prompt.count("Assistant:") - 1
        if turn == 0:
            script, self.begun = self.scripts[self.begun], self.begun + 1
        else:
            script = next(each for each in self.scripts if each[0] in prompt)
        text, cut, _ = script[turn].partition("<cut>")
        ids = self.tokenizer(" " + text + ("" if cut else "\n\nUser:"), add_special_tokens=False)["input_ids"]
        return TokensWithLogprobs(ids, [-1.0] * len(ids), "length" if cut else "stop")


async def play(tokenizer, scripts):
    group = ChatGroupBuilder(
        world=ChatWorld(num_turns=2, user=user, reward=length, reward_mode="difference"),
        prompt=Conversation().user("A river?"),
        renderer=RoleColonRenderer(tokenizer),
        group_size=len(scripts),
        floor=-5.0,
        max_tokens=64,
        context_length=300,
    )
    played = await do_group_rollout(group, Scripted(tokenizer, scripts))
    return played, {
        "rewards": [[step.reward for step in each.transitions] for each in played.trajectories_G],
        "metrics": [each.transitions[-1].metrics for each in played.trajectories_G],
        "first": [[step.metrics for step in each.transitions[:-1]] for each in played.trajectories_G],
    }


async def main(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.eos_token = "<|end|>"
    results = {}
    for scene, scripts in SCENES.items():
        played, results[scene] = await play(tokenizer, scripts)
        if scene == "played":
            results["data"] = []
            for datum in turn_level_data(played, discount=1.0):
                targets, advantages = (datum.loss_fn_inputs[name].tolist() for name in ("target_tokens", "advantages"))
                parts = {}
                for token, advantage in zip(targets, advantages, strict=True):
                    parts.setdefault(advantage, []).append(token)
                results["data"].append([[advantage, tokenizer.decode(ids)] for advantage, ids in parts.items()])
    asked = Conversation().user("A river?")
    pair = PreferencePair(id="x", chosen=asked.assistant("The Rhine."), rejected=asked.assistant("No."))
    labeled = as_labeled_comparison(pair)
    print(json.dumps(results | {"seen": SEEN, "label": labeled.label, "comparison": vars(labeled.comparison)}))


asyncio.run(main(sys.argv[1]))
