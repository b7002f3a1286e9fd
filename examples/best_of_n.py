"""Multi-turn Best-of-N as a library: one judge compares selectors and strategies over the same seeds.

The selector is the sandbox's small reward model; replace it with `RewardModel.from_pretrained("runs/rm")`. The judge is
the sandbox's oracle, so selecting by the oracle shows the largest possible gain.

Run it: python examples/best_of_n.py
"""

import asyncio

from music.llm import load_model
from music.reward import RewardFunction, RewardModel, random_reward
from music.sandbox import oracle_score as oracle
from music.sandbox.artifacts import REWARD_MODEL
from music_envs import (
    Anytime,
    Beam,
    BestOfNConfig,
    Greedy,
    Strategy,
    Whole,
    compare_grades,
    grade_rollouts,
    load_prompts,
    mean_grade,
    run_best_of_n,
)

MODEL = RewardModel.from_pretrained(REWARD_MODEL)
SELECTORS: dict[str, tuple[RewardFunction, Strategy]] = {
    "random": (random_reward(0), Greedy()),
    "greedy": (MODEL, Greedy()),
    "anytime": (MODEL, Anytime(margin=2.0)),
    "beam": (MODEL, Beam(width=2)),
    "whole": (MODEL.with_readout("turn_mean"), Whole()),
    "oracle": (oracle, Greedy()),
}


async def main() -> None:
    """Run every selector, and print the grades and the cost of its conversations."""
    assistant, user = load_model("sandbox:fair"), load_model("sandbox")
    config = BestOfNConfig(num_candidates=4, num_turns=3, seed=0)
    random = None
    for name, (reward, strategy) in SELECTORS.items():
        rollouts = await run_best_of_n(
            load_prompts("sandbox", 30), assistant=assistant, user=user, reward=reward, config=config, strategy=strategy
        )
        grades = grade_rollouts(rollouts, oracle)
        print(f"{name:8} {mean_grade(grades)}, {sum(rollout.usage.num_calls for rollout in rollouts)} calls")
        random = random or grades
        if grades is not random:
            print(f"         against random: {compare_grades(grades, random)}")


if __name__ == "__main__":
    asyncio.run(main())
