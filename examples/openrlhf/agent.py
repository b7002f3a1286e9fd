"""The conversations of an OpenRLHF run: a simulated user answers the policy, and a served reward model scores it.

OpenRLHF imports `AgentExecutor` from here: `--train.agent_func_path examples/openrlhf/agent.py`.
"""

import os

from transformers import AutoTokenizer

from music_envs import ChatWorld
from music_envs.adapters.openrlhf import agent_executor

world = ChatWorld(
    num_turns=3,
    user=os.environ["SIMULATED_USER"],
    reward=os.environ["REWARD"],
    reward_mode="difference",  # what each reply adds to the score
)
AgentExecutor = agent_executor(world, AutoTokenizer.from_pretrained(os.environ["POLICY"]), floor=-5.0)
