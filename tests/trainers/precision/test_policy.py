import subprocess
import sys

import pytest
import torch

from music.errors import InvalidInputError
from music_trainers.precision import CompactAdamW, StatesPolicy, bytes_per_parameter, make_optimizer


def stepped(policy):
    """Return a matrix after one step, and the optimizer."""
    matrix = torch.nn.Parameter(torch.randn(64, 512).to(getattr(torch, policy.weight_dtype)))
    optimizer = make_optimizer([matrix], policy, lr=1e-3)
    matrix.grad = torch.randn(64, 512).to(matrix.dtype)
    optimizer.step()
    return matrix, optimizer


@pytest.mark.parametrize("policy", list(StatesPolicy))
def test_the_bytes_are_those_of_the_tensors(policy):
    matrix, optimizer = stepped(policy)
    states = [tensor for name, tensor in optimizer.state[matrix].items() if name != "step"]
    stored = sum(tensor.untyped_storage().nbytes() for tensor in (matrix, matrix.grad, *states))
    assert stored / matrix.numel() == bytes_per_parameter(policy)


def test_the_larger_the_more_exact():
    taken = [bytes_per_parameter(policy) for policy in StatesPolicy]
    assert taken == sorted(taken, reverse=True) == [16, 10, 8, 6.03125]


def test_fp32_is_torchs_own():
    _, optimizer = stepped(StatesPolicy.FP32)
    assert type(optimizer) is torch.optim.AdamW


@pytest.mark.parametrize("policy", list(StatesPolicy))
def test_a_model_in_another_type_is_refused(policy):
    other = torch.bfloat16 if policy is StatesPolicy.FP32 else torch.float32
    with pytest.raises(InvalidInputError, match=f"expects torch.{policy.weight_dtype} parameters, got {other}: load"):
        make_optimizer([torch.nn.Parameter(torch.zeros(3, dtype=other))], policy, lr=1e-3)


def test_weights_that_were_cast_since_are_refused():
    model = torch.nn.Linear(3, 3, dtype=torch.bfloat16)
    optimizer = CompactAdamW(model.parameters())
    model.float()
    model(torch.ones(3)).sum().backward()
    with pytest.raises(InvalidInputError, match="with mixed_precision='no'"):
        optimizer.step()


def test_half_precision_is_refused():
    parameters = [torch.nn.Parameter(torch.zeros(3, dtype=dtype)) for dtype in (torch.bfloat16, torch.float16)]
    with pytest.raises(InvalidInputError, match=r"got torch.bfloat16, torch.float16"):
        CompactAdamW(parameters)


def test_the_choices_cost_no_torch():
    code = "import sys; import music_trainers.precision.policy; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})
