"""OpenRLHF's command `openrlhf.cli.train_ppo_ray`, with credit for each turn. Its flags: `train.sh`."""

import os
import runpy

import ray

SETTINGS = {
    "TOKENIZERS_PARALLELISM": "true",
    "NCCL_DEBUG": "WARN",
    "RAY_ENABLE_ZERO_COPY_TORCH_TENSORS": "1",
}
"""What OpenRLHF gives its processes when it starts Ray itself."""

if __name__ == "__main__":
    own = {name: os.environ[name] for name in ("POLICY", "SIMULATED_USER", "REWARD")}
    ray.init(
        runtime_env={
            "env_vars": {name: os.environ.get(name, value) for name, value in SETTINGS.items()} | own,
            "worker_process_setup_hook": "music_envs.adapters.openrlhf.use_turn_credit",
        }
    )
    runpy.run_module("openrlhf.cli.train_ppo_ray", run_name="__main__", alter_sys=True)
