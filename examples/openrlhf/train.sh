#!/bin/sh
# OpenRLHF on conversations of three turns, with a served reward and credit for each turn. For a machine of 8 GPUs.
# Before it: python examples/openrlhf/prompts.py runs/openrlhf/prompts.jsonl prompts.jsonl
#            music serve runs/rm --port 8300
set -eu

export POLICY="${POLICY:-Qwen/Qwen2.5-7B-Instruct}"
export SIMULATED_USER="${SIMULATED_USER:-Qwen/Qwen2.5-7B-Instruct@http://127.0.0.1:8000/v1}"
export REWARD="${REWARD:-rm@http://127.0.0.1:8300}"

python examples/openrlhf/train.py \
    --actor.model_name_or_path "$POLICY" \
    --train.agent_func_path examples/openrlhf/agent.py \
    --data.prompt_dataset runs/openrlhf/prompts.jsonl \
    --data.input_key messages \
    --data.label_key label \
    --data.apply_chat_template \
    --data.max_len 4096 \
    --rollout.max_new_tokens 1024 \
    --rollout.batch_size 32 \
    --rollout.n_samples_per_prompt 8 \
    --rollout.micro_batch_size 4 \
    --train.batch_size 256 \
    --train.micro_batch_size 2 \
    --algo.advantage.estimator group_norm \
    --algo.advantage.gamma 1 \
    --algo.kl.init_coef 0.001 \
    --actor.adam.lr 1e-6 \
    --actor.num_gpus_per_node 8 \
    --ref.num_gpus_per_node 8 \
    --vllm.num_engines 8 \
    --vllm.gpu_memory_utilization 0.5 \
    --vllm.enable_sleep \
    --train.colocate_all \
    --ds.enable_sleep \
    --ds.zero_stage 3 \
    --ckpt.output_dir runs/openrlhf/policy
