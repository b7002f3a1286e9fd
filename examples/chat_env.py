"""A conversation as a Gymnasium environment: a policy is anything from a conversation to a reply.

Two small policies play the same ten episodes against the sandbox's user, and its oracle rewards whole conversations.
Put any chat model in the user's place (`user="MODEL@http://host/v1"`) and a reward model in the oracle's
(`reward="runs/rm"`).

Run it: python examples/chat_env.py
"""

import asyncio
from collections.abc import Callable

import gymnasium

import music_envs  # noqa: F401  # registers music/Chat-v0
from music.conversation import Conversation
from music.evaluation import describe, mean, paired_difference
from music.llm import ChatRequest
from music.prompts import render_assistant
from music.sandbox.model import SandboxModel

Policy = Callable[[Conversation], str]


def echo(conversation: Conversation) -> str:
    """Repeat what the user said: on topic, and no answer."""
    return conversation.messages[-1].content


def careful(conversation: Conversation) -> str:
    """Answer as the sandbox's better assistant would."""
    request = ChatRequest(messages=render_assistant(conversation), seed=0)
    return asyncio.run(SandboxModel("good").complete(request)).text


def play(policy: Policy, num_episodes: int = 10) -> list[float]:
    """Return the reward of each episode; the seed makes them the same for every policy."""
    env = gymnasium.make("music/Chat-v0", num_turns=3)
    returns = []
    for episode in range(num_episodes):
        conversation, _ = env.reset(seed=episode)
        over = False
        while not over:
            conversation, reward, terminated, truncated, _ = env.step(policy(conversation))
            over = terminated or truncated
        returns.append(float(reward))
    env.close()
    return returns


if __name__ == "__main__":
    scores = {policy.__name__: play(policy) for policy in (echo, careful)}
    for name, rewards in scores.items():
        print(f"{name:8} {mean(rewards)}")
    print(f"careful - echo: {describe(paired_difference(scores['careful'], scores['echo']))}")
