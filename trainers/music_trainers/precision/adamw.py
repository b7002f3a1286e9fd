"""AdamW whose states follow a `StatesPolicy`.

A step processes each parameter a few million elements at a time: it reads weights and moments as fp32, computes as
`torch.optim.AdamW` does, and writes them back. So only a few million elements are in fp32 at any time.
"""

import math
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, overload

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim.optimizer import Optimizer, ParamsT, StateDict

from music.errors import InvalidInputError
from music_trainers.precision.policy import StatesPolicy
from music_trainers.precision.rounding import seed_of
from music_trainers.precision.states import local, new_state, stored_mean, stored_square, stored_weights

__all__ = ["CHUNK_ELEMENTS", "CompactAdamW", "make_optimizer"]

CHUNK_ELEMENTS = 1 << 22
"""Elements of a parameter that are updated together, or one row if a row has more: 16 MB for each fp32 temporary,
260 MB in total."""


def make_optimizer(
    parameters: ParamsT,
    policy: StatesPolicy,
    *,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    seed: int = 0,
) -> Optimizer:
    """Return AdamW with the states of a policy; `seed` is the seed of its rounding.

    Raises:
        InvalidInputError: The parameters do not have the data type of the policy.
    """
    if policy is not StatesPolicy.FP32:
        return CompactAdamW(parameters, lr, betas, eps, weight_decay, policy=policy, seed=seed)
    optimizer = torch.optim.AdamW(parameters, lr, betas, eps, weight_decay, fused=True)
    _require_dtypes(optimizer, policy, {torch.float32})
    return optimizer


class CompactAdamW(Optimizer):
    """`torch.optim.AdamW` for bf16 parameters, plain or DTensors, with the states of a policy other than `fp32`.

    The rounding of a step depends on the seed, the parameter's place, its step and its shard. So a run that resumes
    from a `state_dict`, which holds the seed, gives the same weights as an uninterrupted run, and the replicas of a
    data-parallel run stay equal.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        *,
        policy: StatesPolicy = StatesPolicy.BF16_STOCHASTIC,
        seed: int = 0,
    ) -> None:
        """Create the optimizer; a parameter's states are created at its first gradient.

        Raises:
            InvalidInputError: The policy is `fp32`, no parameter is bf16, or one is neither bf16 nor fp32.
        """
        if policy is StatesPolicy.FP32:
            raise InvalidInputError("expected a policy for bf16 weights, got fp32: use torch.optim.AdamW")
        # A plain string, not the enum: checkpoints are read with weights_only=True.
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**defaults, "policy": policy.value, "seed": seed})
        _require_dtypes(self, policy, {torch.bfloat16, torch.float32})

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update each parameter that has a gradient.

        Raises:
            InvalidInputError: At the first step, no parameter is bf16 any more.
        """
        if not self.state:
            # Accelerate's FSDP casts weights to fp32 for mixed precision, which takes as much memory as `fp32`.
            _require_dtypes(self, StatesPolicy(self.defaults["policy"]), {torch.bfloat16, torch.float32})
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for index, (group, parameter) in enumerate(self._parameters()):
            if parameter.grad is not None:
                self._update(group, parameter, local(parameter.grad), index)
        return loss

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Load hyperparameters, seed and states; states keep their own types.

        Raises:
            InvalidInputError: The states belong to another policy.
        """
        theirs = {group.get("policy", "fp32") for group in state_dict["param_groups"]}
        ours = {group["policy"] for group in self.param_groups}
        if theirs != ours:
            raise InvalidInputError(f"expected states of policy {_names(ours)}, got {_names(theirs)}: resume with that")
        # The base class would cast every state to the parameter's type.
        super().load_state_dict({**state_dict, "state": {}})
        keys = chain.from_iterable(group["params"] for group in state_dict["param_groups"])
        for key, (_, parameter) in zip(keys, self._parameters(), strict=True):
            if key in state_dict["state"]:
                states = state_dict["state"][key].items()  # the step count stays on the CPU
                self.state[parameter] = {
                    name: tensor.to("cpu" if name == "step" else parameter.device) for name, tensor in states
                }

    def _parameters(self) -> Iterator[tuple[dict[str, Any], Tensor]]:
        """Yield every parameter with its group, in the same order in a resumed run."""
        for group in self.param_groups:
            for parameter in group["params"]:
                yield group, parameter

    def _update(self, group: dict[str, Any], parameter: Tensor, gradient: Tensor, index: int) -> None:
        """Update one parameter, chunk by chunk."""
        if not self.state[parameter]:
            self.state[parameter] = new_state(parameter, StatesPolicy(group["policy"]))
        state = self.state[parameter]
        state["step"] += 1
        step = int(state["step"])
        generator = torch.Generator(parameter.device)
        generator.manual_seed(seed_of(group["seed"], step, index, *_shard(parameter)))
        stores = stored_weights(parameter, state), stored_mean(state), stored_square(state)
        for rows in _chunks(gradient):
            weights, mean, square = (store.read(rows) for store in stores)
            _adamw(weights, mean, square, gradient[rows].float(), group, step)
            for store, values in zip(stores, (weights, mean, square), strict=True):
                store.write(rows, values, generator)


def _adamw(weights: Tensor, mean: Tensor, square: Tensor, gradient: Tensor, group: dict[str, Any], step: int) -> None:
    """Update fp32 weights and moments in place, in torch's order [Loshchilov and Hutter, 2019, algorithm 2]."""
    lr, (beta1, beta2) = float(group["lr"]), group["betas"]
    weights.mul_(1 - lr * group["weight_decay"])
    mean.lerp_(gradient, 1 - beta1)
    square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    spread = square.sqrt().div_(math.sqrt(1 - beta2**step)).add_(group["eps"])
    weights.addcdiv_(mean, spread, value=-lr / (1 - beta1**step))


def _chunks(tensor: Tensor) -> Iterator[slice]:
    """Yield slices of rows of about `CHUNK_ELEMENTS` elements."""
    if tensor.numel() == 0:
        return
    size = max(1, CHUNK_ELEMENTS * len(tensor) // tensor.numel())
    for start in range(0, len(tensor), size):
        yield slice(start, start + size)


def _shard(parameter: Tensor) -> tuple[int, ...]:
    """Return the shard of this process. Replicas have the same, as they must round alike."""
    if not isinstance(parameter, DTensor):
        return ()
    coordinates = parameter.device_mesh.get_coordinate() or ()
    placed = zip(coordinates, parameter.placements, strict=True)
    return tuple(place for place, placement in placed if not placement.is_replicate())


def _require_dtypes(optimizer: Optimizer, policy: StatesPolicy, allowed: set[torch.dtype]) -> None:
    dtypes = {parameter.dtype for group in optimizer.param_groups for parameter in group["params"]}
    needed = getattr(torch, policy.weight_dtype)
    if needed not in dtypes or not dtypes <= allowed:
        how = str(needed) if policy is StatesPolicy.FP32 else f"{needed} with mixed_precision='no'"
        raise InvalidInputError(
            f"policy {policy} expects {needed} parameters, got {_names(dtypes)}: load the model in {how}, or choose "
            f"another policy"
        )


def _names(values: set[Any]) -> str:
    return ", ".join(sorted(map(str, values)))
