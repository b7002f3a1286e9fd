#!/bin/sh
# verl on conversations of three turns, with a served reward and credit for each turn. For a machine of 8 GPUs.
# Before it: python examples/verl/prompts.py runs/verl/prompts.parquet prompts.jsonl
#            music serve runs/rm --port 8300
# The user and the reward are in agent_loop.yaml.
set -eu

POLICY="${POLICY:-Qwen/Qwen2.5-7B-Instruct}"

python -m verl.trainer.main_ppo \
    algorithm.adv_estimator=turn_credit \
    algorithm.gamma=1.0 \
    data.train_files=runs/verl/prompts.parquet \
    data.val_files=runs/verl/prompts.parquet \
    data.train_batch_size=32 \
    data.max_prompt_length=1024 \
    data.max_response_length=3072 \
    data.filter_overlong_prompts=True \
    actor_rollout_ref.model.path="$POLICY" \
    actor_rollout_ref.model.external_lib=music_envs.adapters.verl.advantage \
    actor_rollout_ref.actor.optim.lr=1e-6 \
    actor_rollout_ref.actor.ppo_mini_batch_size=32 \
    actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=4 \
    actor_rollout_ref.actor.use_kl_loss=True \
    actor_rollout_ref.actor.kl_loss_coef=0.001 \
    actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu=4 \
    actor_rollout_ref.rollout.name=vllm \
    actor_rollout_ref.rollout.n=8 \
    actor_rollout_ref.rollout.tensor_model_parallel_size=1 \
    actor_rollout_ref.rollout.gpu_memory_utilization=0.5 \
    actor_rollout_ref.rollout.calculate_log_probs=True \
    actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=4 \
    actor_rollout_ref.rollout.agent.agent_loop_config_path=examples/verl/agent_loop.yaml \
    actor_rollout_ref.rollout.agent.default_agent_loop=chat \
    trainer.n_gpus_per_node=8 \
    trainer.total_epochs=1 \
    trainer.logger=console \
    trainer.default_local_dir=runs/verl/policy
