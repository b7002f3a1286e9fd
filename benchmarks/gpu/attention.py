"""Tests of the attention back-ends on this card: `python -m benchmarks.gpu.attention`.

Prints Markdown: rewards and gradients of packed rows by each back-end, compared with plain forward passes of one
sequence each through transformers' eager attention in fp32. In bf16, the same plain passes in bf16 give the usual
error. Rows share histories, are longer than the window, and have the softcap of Gemma-2. A second table has the time
and the memory of block masks. Exits with 1 if a back-end is wrong or fails. Needs torch, transformers and the root of
this repository as the working directory. `--small` runs it anywhere: on the CPU FlexAttention has no backward pass, and
flash-attn does not run.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForSequenceClassification

from benchmarks.gpu.card import Card
from benchmarks.reward_models import PAD, VOCABULARY
from music.errors import InvalidInputError
from music.reward.attention import BACKENDS, SegmentTable, choose_backend
from music.reward.attention.flex import make_block_mask
from music.reward.packing import PackedRow, TokenSequence, plan_rows
from music.reward.scoring.forward import PackedScorer

_SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4_096,
    "num_labels": 1,
    "pad_token_id": PAD,
}
_SMALL = {"hidden_size": 96, "intermediate_size": 96, "num_hidden_layers": 2, "head_dim": 16}
MODELS: dict[str, dict[str, Any]] = {
    "llama": {"head_dim": 64},
    "qwen2": {"num_attention_heads": 6, "hidden_size": 384},
    "qwen3": {"head_dim": 128, "use_sliding_window": True, "sliding_window": 200, "max_window_layers": 2},
    "gemma2": {"head_dim": 256, "sliding_window": 200, "attn_logit_softcapping": 5.0},
}
"""Heads of four widths, a number of heads that is not a power of 2, windows on some layers, and the softcap."""
PRECISIONS = ("fp32", "bf16 autocast", "bf16")
TOLERANCE = 1e-4
"""Of rewards and of gradients, relative to their size, in fp32."""
TIMES_USUAL = 3.0
"""The most error in bf16, in errors of plain passes in bf16."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Rewards, and the gradient of their mean square with all weights in one vector; None without a backward pass."""

    rewards: Tensor
    gradient: Tensor | None

    def errors(self, expected: "Outcome") -> tuple[float, float]:
        """Return the relative errors of the rewards and of the gradient."""
        wanted = expected.gradient
        of_gradient = torch.zeros(1) if self.gradient is None or wanted is None else relative(self.gradient, wanted)
        return float(relative(self.rewards, expected.rewards)), float(of_gradient)


def main() -> None:
    """Run the checks and print their report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="tiny models and shorter rows, to try it anywhere")
    is_small = parser.parse_args().small
    card = Card.measure()
    print(f"{card}\n")
    backends = [each for each in BACKENDS if can_run(each, card.device)]
    print("| model | precision | back-end | rewards | gradients | seconds, first and next | |")
    print("|---|---|---|---|---|---|---|")
    is_right = True
    for kind in MODELS:
        for precision in PRECISIONS:
            for line, is_good in check(kind, precision, backends, card.device, is_small=is_small):
                print(line, flush=True)
                is_right &= is_good
    print("\n| block masks of rows | sequences | window | ms | MB |\n|---|---|---|---|---|")
    for num_tokens in (16_384, 65_536):
        for window in (None, 4_096):
            print(block_mask(num_tokens, window, card), flush=True)
    sys.exit(not is_right)


def can_run(backend: str, device: torch.device) -> bool:
    """Return whether a back-end runs here; print the reason if not."""
    try:
        choose_backend(device, backend)
    except InvalidInputError as error:
        print(f"Not run: {error}\n")
        return False
    return True


def check(
    kind: str, precision: str, backends: Sequence[str], device: torch.device, *, is_small: bool
) -> Iterator[tuple[str, bool]]:
    """Yield a line per back-end on one model, and whether it is right."""
    model, sequences = make_model(kind, device, is_small=is_small), draw(1 if is_small else 3)
    rows = plan_rows(sequences, 4_096).rows
    gold = measure(model, lambda: plain(model, sequences), is_backward=True)
    rounded = cast(model, precision)
    with context(precision, device):
        usual = measure(rounded, lambda: plain(rounded, sequences), is_backward=True).errors(gold)
    for backend in backends:
        yield judge(f"| {kind} | {precision} | {backend}", rounded, backend, rows, gold, usual, precision)


def judge(
    head: str,
    model: Any,
    backend: str,
    rows: Sequence[PackedRow],
    gold: Outcome,
    usual: tuple[float, float],
    precision: str,
) -> tuple[str, bool]:
    """Return a back-end's line, and whether it is right."""
    device = model.device
    scorer = PackedScorer(deepcopy(model), backend)
    is_backward = not (backend == "flex" and device.type == "cpu")
    seconds = []
    with context(precision, device):
        for _ in range(2):
            began = time.perf_counter()
            found = measure(scorer, lambda: torch.cat([scorer(row) for row in rows]), is_backward=is_backward)
            seconds.append(time.perf_counter() - began)
    errors = found.errors(gold)
    bounds = [TOLERANCE if precision == "fp32" else TIMES_USUAL * each for each in usual]
    is_right = all(error <= bound for error, bound in zip(errors, bounds, strict=True))
    of_gradient = f"{errors[1]:.1e} (usual {usual[1]:.1e})" if is_backward else "no backward pass"
    figures = f"{errors[0]:.1e} (usual {usual[0]:.1e}) | {of_gradient} | {seconds[0]:.2f}, {seconds[1]:.2f}"
    return f"{head} | {figures} | {'right' if is_right else 'WRONG'} |", is_right


def make_model(kind: str, device: torch.device, *, is_small: bool) -> Any:
    """Return a classifier with fixed random weights in fp32."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **_SHAPE | MODELS[kind] | (_SMALL if is_small else {}))
    of_config: Any = AutoModelForSequenceClassification.from_config
    model = of_config(config, attn_implementation="eager", dtype=torch.float32)
    return model.to(device).eval()


def cast(model: Any, precision: str) -> Any:
    """Return a copy of the model with weights of a precision."""
    copy = deepcopy(model)
    return copy.to(torch.bfloat16) if precision == "bf16" else copy


def context(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Return autocast if requested."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16 autocast" else nullcontext()


def draw(num_groups: int) -> list[list[TokenSequence]]:
    """Return groups of conversations that share histories of some blocks and diverge at several places."""
    generator = torch.Generator().manual_seed(0)

    def ids(num: int) -> list[int]:
        return torch.randint(1, VOCABULARY, (num,), generator=generator).tolist()

    groups = []
    for length in (150, 400, 700)[:num_groups]:
        history, branch = ids(length), ids(90)
        starts = (history, history, history + branch, history + branch, history[:-40])
        sequences = [start + ids(30 + 37 * i) for i, start in enumerate(starts)]
        groups.append([TokenSequence(each, (20, length - 50, len(each) - 1)) for each in sequences])
    return groups


def plain(model: Any, groups: Sequence[Sequence[TokenSequence]]) -> Tensor:
    """Return the rewards of one sequence at a time."""
    rewards = []
    for sequence in (each for group in groups for each in group):
        output = model.base_model(input_ids=torch.tensor([sequence.ids], device=model.device), use_cache=False)
        hidden = output.last_hidden_state[0, list(sequence.reads)]
        rewards.append(hidden.float() @ model.score.weight[0].float())
    return torch.cat(rewards)


def measure(model: Any, score: Callable[[], Tensor], *, is_backward: bool) -> Outcome:
    """Return the rewards, and the gradient if there can be one."""
    model.zero_grad()
    with torch.set_grad_enabled(is_backward):
        rewards = score()
    if not is_backward:
        return Outcome(rewards, None)
    rewards.square().mean().backward()  # type: ignore[no-untyped-call]
    gradient = torch.cat([weights.grad.float().flatten() for weights in model.parameters()])
    return Outcome(rewards.detach(), gradient)


def relative(found: Tensor, wanted: Tensor) -> Tensor:
    """Return the norm of the difference divided by the norm of the reference."""
    difference: Tensor = (found - wanted).norm() / wanted.norm()
    return difference


def block_mask(num_tokens: int, window: int | None, card: Card) -> str:
    """Return a line about a row whose history has half of the tokens and whose candidates have 500 each."""
    history = [1] * (num_tokens // 2)
    group = [TokenSequence.read_at_end(history + [2 + k] * 500) for k in range(num_tokens // 2 // 500)]
    (row,) = plan_rows([group], 2 * num_tokens).rows
    table = SegmentTable.of(row)

    def make() -> None:
        make_block_mask(table, table.num_queries, table.num_keys, window, card.device)

    milliseconds = 1e3 * min(card.seconds(make, 3))
    if card.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        make()
    memory = f"{torch.cuda.max_memory_allocated() / 1e6:.0f}" if card.device.type == "cuda" else "not measured"
    return f"| {row.num_tokens} | {len(group)} | {window} | {milliseconds:.0f} | {memory} |"


if __name__ == "__main__":
    main()
