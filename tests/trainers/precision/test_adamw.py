import copy
import io
import math

import pytest
import torch
from accelerate import Accelerator

from music.errors import InvalidInputError
from music_trainers.precision import CompactAdamW, StatesPolicy, adamw, make_optimizer
from music_trainers.precision.rounding import join_master, round_stochastically, seed_of

COMPACT = [StatesPolicy.SPLIT_MASTER, StatesPolicy.BF16_STOCHASTIC, StatesPolicy.BF16_STOCHASTIC_8BIT]
BETAS, EPS, DECAY = (0.9, 0.999), 1e-8, 0.01


def saved_and_loaded(state_dict):
    file = io.BytesIO()
    torch.save(state_dict, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def regression():
    """Return a two-layer network in fp32, and the loss of a batch drawn for each step."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(300, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1))
    teacher = torch.nn.Linear(300, 1)

    def loss(step, model):
        inputs = torch.randn(64, 300, generator=torch.Generator().manual_seed(step))
        with torch.no_grad():
            targets = teacher(inputs)
        return (model(inputs.to(model[0].weight.dtype)).float() - targets).square().mean()

    return model, loss


def train(model, optimizer, loss, steps):
    for step in steps:
        optimizer.zero_grad()
        loss(step, model).backward()
        optimizer.step()


def held_out(model, loss):
    with torch.no_grad():
        return sum(loss(10_000 + step, model).item() for step in range(20)) / 20


@pytest.fixture(scope="module")
def loss_in_fp32():
    """Return the loss after 200 steps of torch's AdamW in fp32."""
    model, loss = regression()
    before = held_out(model, loss)
    train(model, make_optimizer(model.parameters(), StatesPolicy.FP32, lr=3e-3, weight_decay=DECAY), loss, range(200))
    after = held_out(model, loss)
    assert after < 0.25 * before
    return after


@pytest.mark.parametrize("policy", COMPACT)
def test_small_updates_are_not_lost(policy):
    lr, num_steps = 1e-6, 20
    weights = torch.full((40, 500), 0.3).bfloat16()
    gradient = torch.ones_like(weights)

    def moved(optimizer, parameter):
        for _ in range(num_steps):
            parameter.grad = gradient.clone()
            optimizer.step()
        return parameter.detach().double() - weights.double()

    plain = torch.nn.Parameter(weights.clone())
    assert moved(torch.optim.AdamW([plain], lr=lr, weight_decay=0.0), plain).abs().max() == 0
    parameter = torch.nn.Parameter(weights.clone())
    optimizer = make_optimizer([parameter], policy, lr=lr)
    moves = moved(optimizer, parameter)
    if policy is StatesPolicy.SPLIT_MASTER:
        remainder = optimizer.state[parameter]["remainder"].view(torch.int16).squeeze(-1)
        moves = join_master(parameter.detach(), remainder).double() - weights.double()
    # A constant gradient moves every weight by the rate in each step; 2^-9 is the gap between bf16 numbers at 0.3.
    noise = 0 if policy is StatesPolicy.SPLIT_MASTER else math.sqrt(num_steps * lr * 2**-9 / moves.numel())
    assert moves.mean().item() == pytest.approx(-num_steps * lr, rel=0.02, abs=4 * noise)
    assert noise < 0.1 * num_steps * lr


def test_the_master_is_that_of_fp32_adamw_bit_for_bit(monkeypatch):
    monkeypatch.setattr(adamw, "CHUNK_ELEMENTS", 1000)
    torch.manual_seed(0)
    start = torch.randn(10, 100).bfloat16()
    parameter = torch.nn.Parameter(start.clone())
    optimizer = CompactAdamW([parameter], 1e-4, BETAS, EPS, DECAY, policy=StatesPolicy.SPLIT_MASTER, seed=3)
    master, mean, square = start.float(), torch.zeros_like(start), torch.zeros_like(start)
    generator = torch.Generator()
    for step in range(1, 31):
        gradient = torch.randn(10, 100).bfloat16()
        parameter.grad = gradient
        optimizer.step()
        generator.manual_seed(seed_of(3, step, 0))
        mean32 = mean.float().lerp(gradient.float(), 1 - BETAS[0])
        square32 = (square.float() * BETAS[1]).addcmul(gradient.float(), gradient.float(), value=1 - BETAS[1])
        master = master * (1 - 1e-4 * DECAY)
        denominator = square32.sqrt() / math.sqrt(1 - BETAS[1] ** step) + EPS
        master = master.addcdiv(mean32, denominator, value=-1e-4 / (1 - BETAS[0] ** step))
        mean, square = round_stochastically(mean32, generator), round_stochastically(square32, generator)
    remainder = optimizer.state[parameter]["remainder"].view(torch.int16).squeeze(-1)
    assert torch.equal(join_master(parameter.detach(), remainder), master)
    assert torch.equal(parameter.detach(), master.bfloat16())
    assert not torch.equal(parameter.detach(), start)


def test_fp32_parameters_of_a_bf16_model_are_torchs(monkeypatch):
    """A reward head in fp32, in chunks that cut it."""
    monkeypatch.setattr(adamw, "CHUNK_ELEMENTS", 64)
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Parameter(torch.arange(300.0).view(20, 15)) for _ in range(2))
    body = torch.nn.Parameter(torch.zeros(3, dtype=torch.bfloat16))
    optimizer = CompactAdamW([body, ours], 1e-2, BETAS, EPS, DECAY)
    reference = torch.optim.AdamW([theirs], 1e-2, BETAS, EPS, DECAY, foreach=False)
    for _ in range(20):
        ours.grad = torch.randn(20, 15)
        theirs.grad = ours.grad.clone()
        optimizer.step()
        reference.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)


@pytest.mark.parametrize("policy", COMPACT)
def test_it_learns_as_fp32_does(policy, loss_in_fp32):
    """200 steps of a small regression end within 5 % of the loss that fp32 AdamW ends at."""
    model, loss = regression()
    model = model.bfloat16()
    train(model, make_optimizer(model.parameters(), policy, lr=3e-3, weight_decay=DECAY), loss, range(200))
    assert held_out(model, loss) == pytest.approx(loss_in_fp32, rel=0.05)


@pytest.mark.parametrize("policy", [StatesPolicy.SPLIT_MASTER, StatesPolicy.BF16_STOCHASTIC])
def test_a_second_moment_falls_again(policy):
    """Rounded to the nearest bf16 it would never: a decay by 0.999 is less than half a gap."""
    parameter = torch.nn.Parameter(torch.zeros(10, 300, dtype=torch.bfloat16))
    optimizer = make_optimizer([parameter], policy, lr=0.0)
    for step in range(200):
        parameter.grad = torch.full_like(parameter, 1.0 if step == 0 else 0.0)
        optimizer.step()
    assert optimizer.state[parameter]["exp_avg_sq"].double().mean() == pytest.approx(1e-3 * 0.999**199, rel=0.01)


@pytest.mark.parametrize("policy", COMPACT)
def test_a_resumed_run_is_the_uninterrupted_one(policy):
    model, loss = regression()
    model = model.bfloat16()
    whole = copy.deepcopy(model)
    train(whole, make_optimizer(whole.parameters(), policy, lr=1e-3, seed=7), loss, range(8))
    first = make_optimizer(model.parameters(), policy, lr=1e-3, seed=7)
    train(model, first, loss, range(5))
    # Another rate and seed: those of the checkpoint count.
    states = saved_and_loaded(first.state_dict())
    second = make_optimizer(model.parameters(), policy, lr=1.0, seed=8)
    second.load_state_dict(states)
    train(model, second, loss, range(5, 8))
    for resumed, uninterrupted in zip(model.parameters(), whole.parameters(), strict=True):
        assert torch.equal(resumed, uninterrupted)


def test_states_of_another_policy_are_refused():
    def optimizer(policy):
        parameter = torch.nn.Parameter(torch.zeros(3, dtype=getattr(torch, policy.weight_dtype)))
        return make_optimizer([parameter], policy, lr=1e-3)

    ours = optimizer(StatesPolicy.SPLIT_MASTER)
    for other in (StatesPolicy.BF16_STOCHASTIC, StatesPolicy.FP32):
        with pytest.raises(InvalidInputError, match=f"expected states of policy split_master, got {other}"):
            ours.load_state_dict(optimizer(other).state_dict())


def test_accelerate_takes_it_as_any_optimizer():
    model, loss = regression()
    model = model.bfloat16()
    optimizer = make_optimizer(model.parameters(), StatesPolicy.BF16_STOCHASTIC_8BIT, lr=1e-3)
    model, prepared = Accelerator(cpu=True).prepare(model, optimizer)
    train(model, prepared, loss, range(3))
    prepared.load_state_dict(saved_and_loaded(prepared.state_dict()))
    state = optimizer.state[model[0].weight]
    assert (state["exp_avg"].dtype, state["exp_avg_scale"].dtype) == (torch.int8, torch.float32)


@pytest.mark.parametrize("policy", COMPACT)
def test_parameters_of_all_shapes_move_and_those_without_gradient_stay(policy):
    torch.manual_seed(0)
    shapes = [(), (5,), (0, 4), (3, 7), (2, 3, 300), (6, 4)]
    parameters = [torch.nn.Parameter(torch.randn(shape).bfloat16()) for shape in shapes]
    parameters[-1] = torch.nn.Parameter(torch.randn(4, 6).bfloat16().t())
    frozen = torch.nn.Parameter(torch.randn(3).bfloat16())
    before = [parameter.detach().clone() for parameter in [*parameters, frozen]]
    optimizer = make_optimizer([{"params": parameters}, {"params": [frozen], "lr": 1.0}], policy, lr=0.1)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    for parameter, old in zip(parameters, before[:-1], strict=True):
        torch.testing.assert_close(parameter.float(), old.float() - 0.1, rtol=0.01, atol=0.005)
    assert torch.equal(frozen, before[-1])
    assert frozen not in optimizer.state


def test_a_closure_gives_the_loss():
    parameter = torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16))
    optimizer = CompactAdamW([parameter])

    def closure():
        loss = parameter.float().square().sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 2.0
