"""Run by `test_shards.py` in two processes; each says so at the end if all is as expected."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict, set_optimizer_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

from music_trainers.precision import StatesPolicy, make_optimizer
from music_trainers.precision.rounding import join_master

LR, ROWS, COLUMNS = 1e-3, 7, 300


def sharded_model(mesh):
    torch.manual_seed(0)
    model = torch.nn.Linear(COLUMNS, ROWS, dtype=torch.bfloat16)
    fully_shard(model, mesh=mesh)
    return model


def gradient(shape, step):
    return torch.randn(shape, generator=torch.Generator().manual_seed(step)).bfloat16()


def train(model, optimizer, steps):
    for step in steps:
        for parameter in model.parameters():
            full = gradient(parameter.shape, step)
            parameter.grad = distribute_tensor(full, parameter.device_mesh, parameter.placements)
        optimizer.step()
        optimizer.zero_grad()


def check_sharded_training(mesh, policy):
    """A sharded matrix moves as a whole one does in fp32, but for the rounding of weights and moments."""
    model = sharded_model(mesh)
    whole = torch.nn.Parameter(model.weight.full_tensor().float())
    reference = torch.optim.AdamW([whole], LR, weight_decay=0.0)
    optimizer = make_optimizer(model.parameters(), policy, lr=LR)
    train(model, optimizer, range(4))
    for step in range(4):
        whole.grad = gradient(whole.shape, step).float()
        reference.step()
    weights = model.weight.full_tensor()
    if policy is StatesPolicy.SPLIT_MASTER:
        remainder = optimizer.state[model.weight]["remainder"].full_tensor()
        weights = join_master(weights, remainder.view(torch.int16).squeeze(-1))
    tolerance = 0.05 * LR if policy is StatesPolicy.SPLIT_MASTER else LR + 4 * 2**-12
    assert (weights.float() - whole).abs().max() < tolerance


def check_resuming(mesh, policy, folder):
    """Full and sharded checkpoints go on as if nothing had been."""
    expected = sharded_model(mesh)
    train(expected, make_optimizer(expected.parameters(), policy, lr=LR), range(5))
    for full in (True, False):
        model = sharded_model(mesh)
        optimizer = make_optimizer(model.parameters(), policy, lr=LR)
        train(model, optimizer, range(3))
        options = StateDictOptions(full_state_dict=full, broadcast_from_rank0=full, cpu_offload=full)
        states = get_optimizer_state_dict(model, optimizer, options=options)
        if not full:
            dcp.save({"optimizer": states}, checkpoint_id=folder / policy)
        resumed = make_optimizer(model.parameters(), policy, lr=LR)
        if not full:
            states = get_optimizer_state_dict(model, resumed, options=options)
            dcp.load({"optimizer": states}, checkpoint_id=folder / policy)
        set_optimizer_state_dict(model, resumed, states, options=options)
        train(model, resumed, range(3, 5))
        for ours, theirs in zip(model.parameters(), expected.parameters(), strict=True):
            assert torch.equal(ours.to_local(), theirs.to_local()), (policy, full)


def check_noise(mesh):
    """Replicas round alike, shards do not."""
    for placement in (Replicate(), Shard(0), Shard(1)):
        full = torch.full((4, 256), 0.3, dtype=torch.bfloat16)
        parameter = torch.nn.Parameter(distribute_tensor(full, mesh, [placement]))
        optimizer = make_optimizer([parameter], StatesPolicy.BF16_STOCHASTIC_8BIT, lr=LR)
        parameter.grad = distribute_tensor(torch.ones_like(full), mesh, [placement])
        optimizer.step()
        parts = [torch.empty_like(parameter.to_local()) for _ in range(2)]
        dist.all_gather(parts, parameter.to_local().detach().contiguous())
        assert torch.equal(*parts) == placement.is_replicate()
        assert ("exp_avg_scale" in optimizer.state[parameter]) == (placement != Shard(1))


if __name__ == "__main__":
    device_mesh = init_device_mesh("cpu", (2,))
    for choice in StatesPolicy:
        if choice is not StatesPolicy.FP32:
            check_sharded_training(device_mesh, choice)
            check_resuming(device_mesh, choice, Path(sys.argv[1]))
    check_noise(device_mesh)
    print("as expected", flush=True)
    dist.barrier()
    dist.destroy_process_group()
