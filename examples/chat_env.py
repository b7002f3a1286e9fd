"""A conversation as a Gymnasium environment: a policy is any callable from conversations to replies.

Two policies play the same ten episodes with the sandbox's user, and its oracle rewards whole conversations. You
can replace the careful policy (`ModelPolicy("MODEL@http://host/v1")`), the user (`user="..."`) and the oracle
(`reward="runs/rm"`) with your own. `play_episodes` runs the same loop for many episodes at once.

Run it: python examples/chat_env.py
"""

from collections.abc import Sequence

import gymnasium

from music.conversation import Conversation
from music.statistics import describe, mean, paired_difference
from music_envs import ModelPolicy, Policy


def echo(conversations: Sequence[Conversation]) -> list[str]:
    """Repeat the user's message: on topic, but no answer."""
    return [conversation.messages[-1].content for conversation in conversations]


def play(policy: Policy, num_episodes: int = 10) -> list[float]:
    """Return the reward of each episode; the seed makes them the same for every policy."""
    env = gymnasium.make("music/Chat-v0", num_turns=3)
    returns = []
    for episode in range(num_episodes):
        conversation, _ = env.reset(seed=episode)
        over = False
        while not over:
            conversation, reward, terminated, truncated, _ = env.step(*policy([conversation]))
            over = terminated or truncated
        returns.append(float(reward))
    env.close()
    return returns


if __name__ == "__main__":
    scores = {"echo": play(echo), "careful": play(ModelPolicy("sandbox:good"))}
    for name, rewards in scores.items():
        print(f"{name:8} {mean(rewards)}")
    print(f"careful - echo: {describe(paired_difference(scores['careful'], scores['echo']))}")
