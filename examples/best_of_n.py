"""Multi-turn Best-of-N as a library: three selectors, the same candidates, one judge.

At each of three turns an assistant offers four replies and the selector keeps one. The judge here is the sandbox's
oracle, so selecting by the oracle shows how much there is to gain; put `RewardModel.from_pretrained("runs/rm")` among
the selectors to see how much of it a reward model finds.

Run it: python examples/best_of_n.py
"""

import asyncio

from music.llm import open_model
from music.reward import RewardFunction, length_reward, random_reward
from music.sandbox.oracle import score as oracle
from music.sandbox.seeds import seed_pairs
from music_envs import BestOfNConfig, compare, greedy_best_of_n, judge_rollouts, mean_grade

SELECTORS: dict[str, RewardFunction] = {"random": random_reward(0), "longest": length_reward, "oracle": oracle}


async def grade_all() -> dict[str, list[float | None]]:
    """Return the judge's grade of every conversation, by selector."""
    prompts = [pair.chosen.prefix(len(pair.chosen.messages) - 1) for pair in seed_pairs(100, 0)]
    assistant, user = open_model("sandbox:fair"), open_model("sandbox")
    config = BestOfNConfig(num_candidates=4, num_turns=3, seed=0)
    grades = {}
    for name, selector in SELECTORS.items():
        rollouts = await greedy_best_of_n(prompts, assistant=assistant, user=user, reward=selector, config=config)
        grades[name] = judge_rollouts(rollouts, judge=oracle)
    await assistant.aclose()
    await user.aclose()
    return grades


if __name__ == "__main__":
    results = asyncio.run(grade_all())
    for name, grades in results.items():
        print(f"{name:8} {mean_grade(grades)}")
        if name != "random":
            print(f"         against random: {compare(grades, results['random'])}")
