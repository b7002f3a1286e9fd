"""The blocks are those that `create_block_mask` finds in a mask written out from the paths."""

import random
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, create_mask, flex_attention
from torch.utils._python_dispatch import TorchDispatchMode

from music.reward.attention import SegmentTable
from music.reward.attention.flex import BLOCK, make_block_mask
from music.reward.packing import TokenSequence, plan_rows

CPU = torch.device("cpu")


def random_table(rng: random.Random, longest: int, num_cached: int = 0) -> SegmentTable:
    """Return the table of a row with trees of all forms, the first of which go on from cached tokens."""
    groups = [random_group(rng, rng.randint(5, longest), num_cached) for _ in range(rng.randint(1, 3))]
    (row,) = plan_rows(groups, 100_000, num_cached=[num_cached] * len(groups)).rows
    # Prefixes that part in the middle.
    parts = [("a" * (num_cached // 2), f"{i}" * (num_cached - num_cached // 2)) for i in range(len(groups))]
    return SegmentTable.of(row, parts if num_cached else ())


def random_group(rng: random.Random, longest: int, num_cached: int) -> list[TokenSequence]:
    sequences = [rng.choices(range(90), k=longest)]
    for _ in range(rng.randint(0, 5)):
        start = rng.choice(sequences)
        sequences.append(start[: rng.randint(1, len(start))] + rng.choices(range(90), k=rng.randint(1, longest)))
    return [TokenSequence.read_at_end([91] * num_cached + ids) for ids in sequences]


def written_out(table: SegmentTable, num_filled: int, window: int | None) -> Tensor:
    """Return who sees whom, `[queries, keys]`."""
    sees = torch.zeros(table.num_queries + num_filled, table.num_keys + num_filled, dtype=torch.bool)
    for own in table.own:
        keys = [key for i in own.path for key in range(table.both[i].start, table.both[i].stop)]
        for position in range(own.position, own.num_keys):
            first = 0 if window is None else max(0, position + 1 - window)
            sees[own.start - table.num_cached + position - own.position, keys[first : position + 1]] = True
    for i in range(num_filled):
        first = 0 if window is None else max(0, i + 1 - window)
        sees[table.num_queries + i, table.num_keys + first : table.num_keys + i + 1] = True
    return sees


def lists_of_blocks(mask: Any) -> list[list[list[int]]]:
    """Return the keys' blocks per block of queries, and the other way round: the partly and the fully seen."""
    pairs = [
        (mask.kv_num_blocks, mask.kv_indices),
        (mask.full_kv_num_blocks, mask.full_kv_indices),
        (mask.q_num_blocks, mask.q_indices),
        (mask.full_q_num_blocks, mask.full_q_indices),
    ]
    return [
        [row[:num].tolist() for num, row in zip(nums.flatten().tolist(), indices.flatten(0, 2), strict=True)]
        for nums, indices in pairs
    ]


@pytest.mark.parametrize("num_cached", [0, 150])
@pytest.mark.parametrize("window", [None, 1, 60, 128, 300])
def test_the_blocks_are_those_of_the_whole_mask(window: int | None, num_cached: int):
    rng = random.Random(f"{window} {num_cached}")
    for longest in (20, 150, 400):
        table = random_table(rng, longest, num_cached)
        num_filled = rng.choice([0, -table.num_queries % BLOCK])
        sees = written_out(table, num_filled, window)
        sizes = table.num_queries + num_filled, table.num_keys + num_filled
        found = make_block_mask(table, *sizes, window, CPU)
        wanted = create_block_mask(lambda b, h, q, k, sees=sees: sees[q, k], None, None, *sizes, "cpu", BLOCK)
        assert lists_of_blocks(found) == lists_of_blocks(wanted)
        assert torch.equal(create_mask(found.mask_mod, 1, 1, *sizes, "cpu")[0, 0], sees)


def test_indices_lie_in_memory_as_kernels_read_them():
    table = random_table(random.Random(0), 400)
    found = make_block_mask(table, table.num_queries, table.num_keys, 300, CPU)
    wanted = create_block_mask(found.mask_mod, None, None, *found.seq_lengths, "cpu", BLOCK)
    assert found.kv_indices.shape[-1] > 2
    for name in BlockMask._TENSOR_ATTRS:
        ours, theirs = getattr(found, name), getattr(wanted, name)
        if theirs is not None:
            assert (ours.dtype, ours.shape, ours.stride()) == (theirs.dtype, theirs.shape, theirs.stride()), name


class Largest(TorchDispatchMode):
    """Notes the largest tensor that any operation returns."""

    num_elements = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = function(*args, **(kwargs or {}))
        for each in found if isinstance(found, tuple) else (found,):
            self.num_elements = max(self.num_elements, each.numel() if isinstance(each, Tensor) else 0)
        return found


@pytest.mark.parametrize("window", [None, 4_096])
def test_memory_is_that_of_blocks_not_of_tokens(window: int | None):
    (row,) = plan_rows([[TokenSequence.read_at_end([7] * 40_000 + [k] * 4_000) for k in range(6)]], 100_000).rows
    table = SegmentTable.of(row)
    assert table.num_queries == 64_000
    with Largest() as largest:
        make_block_mask(table, table.num_queries, table.num_keys, window, CPU)
    assert largest.num_elements < 2 * (64_000 // BLOCK) ** 2


@torch.no_grad()
def test_one_kernel_serves_all_windows_and_lengths_of_caches():
    torch._dynamo.reset()  # what other tests compiled before changes what is compiled here
    counter: Any = CompileCounterWithBackend("eager")
    attend: Any = torch.compile(flex_attention, backend=counter)
    # Rows of two lengths first, so that the second compilation is for all.
    for length, num_cached, window in ((200, 0, None), (300, 0, 16), (700, 0, 64), (500, 150, None), (600, 77, 16)):
        sequences = [TokenSequence.read_at_end([1] * (num_cached + length) + [k] * 100) for k in (2, 3)]
        (row,) = plan_rows([sequences], 100_000, num_cached=[num_cached]).rows
        table = SegmentTable.of(row, [("a" * num_cached,)] if num_cached else ())
        num_filled = -table.num_queries % BLOCK
        sizes = table.num_queries + num_filled, table.num_keys + num_filled
        query, key = torch.randn(1, 4, sizes[0], 16), torch.randn(1, 2, sizes[1], 16)
        attend(query, key, key, block_mask=make_block_mask(table, *sizes, window, CPU), enable_gqa=True)
    assert counter.frame_count == 2
