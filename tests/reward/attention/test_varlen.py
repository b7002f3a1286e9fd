"""flash-attn's kernel is replaced by a plain one, which does what its documentation says."""

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from music.errors import InvalidInputError
from music.reward.attention import SegmentTable
from music.reward.attention.gather import gather_attention
from music.reward.attention.varlen import varlen_attention, why_no_flash
from music.reward.packing import PackedRow, TokenSequence, plan_rows
from music.reward.scoring.forward import PackedScorer

HALF = (torch.float16, torch.bfloat16)
CUDA = torch.device("cuda")


def row_of(shared: int, num_sequences: int = 4) -> PackedRow:
    sequences = [TokenSequence.read_at_end([1] * shared + [k] * 30) for k in range(2, 2 + num_sequences)]
    return plan_rows([sequences], 10_000).rows[0]


def states(row: PackedRow, **options: Any) -> list[Tensor]:
    torch.manual_seed(0)
    shapes = ((1, 4, row.num_tokens, 16), (1, 2, row.num_tokens, 16), (1, 2, row.num_tokens, 16))
    return [torch.randn(shape, **options) for shape in shapes]


@pytest.fixture
def calls(emulated_flash: None, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, dict[str, Any]]]:
    """What the kernel was called with; it takes half precision only, as the real one."""
    noted: list[tuple[Any, dict[str, Any]]] = []
    kernel = sys.modules["flash_attn"].flash_attn_varlen_func

    def noting(*args: Any, **kwargs: Any) -> Tensor:
        noted.append((args, kwargs))
        attended: Tensor = kernel(*args, **kwargs)
        return attended

    monkeypatch.setitem(sys.modules, "flash_attn", SimpleNamespace(flash_attn_varlen_func=noting))
    monkeypatch.setattr("music.reward.attention.varlen.DTYPES", HALF)
    return noted


def test_weights_in_fp32_under_autocast(family: str, make_classifier: Callable[..., PreTrainedModel], calls: list[Any]):
    """Rotary embeddings leave queries and keys in fp32, beside values in bf16; the kernel takes neither."""
    classifier = make_classifier(family)
    expected = PackedScorer(classifier, "gather")(row_of(60))
    with torch.autocast("cpu", torch.bfloat16):
        found = PackedScorer(classifier, "varlen")(row_of(60))
        rounded = PackedScorer(classifier, "gather")(row_of(60))
    assert {each.dtype for args, _ in calls for each in args[:3]} == {torch.bfloat16}
    error, usual = ((each - expected).abs().max() for each in (found, rounded))
    assert 0 < error < max(3 * usual, torch.tensor(0.05))
    found.sum().backward()
    assert all(weights.grad is not None for weights in classifier.parameters())


@torch.compiler.set_stance("force_eager")
@torch.no_grad()
@pytest.mark.parametrize("case", ["fp32", "wide heads", "narrow values"])
def test_what_the_kernel_does_not_take_is_done_by_flex(case: str, calls: list[Any]):
    row = row_of(60)
    query, key, value = states(row, dtype=torch.float32 if case == "fp32" else torch.bfloat16)
    if case == "wide heads":
        query, key, value = (each.repeat(1, 1, 1, 17) for each in (query, key, value))
    if case == "narrow values":
        value = value[..., :8]
    found, _ = varlen_attention(torch.nn.Module(), query, key, value, SegmentTable.of(row), sliding_window=50)
    wanted, _ = gather_attention(torch.nn.Module(), query, key, value, SegmentTable.of(row), sliding_window=50)
    assert not calls
    assert found.dtype == query.dtype
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5 if case == "fp32" else 2e-2)


def test_softcap_with_dropout_is_done_by_neither(calls: list[Any]):
    row = row_of(60)
    with pytest.raises(InvalidInputError, match="train without dropout"):
        varlen_attention(torch.nn.Module(), *states(row, dtype=HALF[1]), SegmentTable.of(row), softcap=5.0, dropout=0.1)
    assert not calls


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_no_copies_of_the_history_are_kept_for_the_backward_pass(dropout: float, emulated_flash: None):
    row, sizes = row_of(200, num_sequences=8), []
    query, key, value = states(row, requires_grad=True)

    def pack(saved: Tensor) -> Tensor:
        sizes.append(saved.numel())
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda packed: packed):
        torch.manual_seed(1)
        found, _ = varlen_attention(
            torch.nn.Module(), query, key, value, SegmentTable.of(row), scaling=0.25, dropout=dropout
        )
    gathered = sum(segment.num_keys for segment in SegmentTable.of(row).own) * 2 * 16
    assert gathered > 3 * key.numel()
    assert max(sizes, default=0) <= query.numel()
    found.square().sum().backward()
    got = [each.grad for each in (query, key, value)]
    query, key, value = states(row, requires_grad=True)
    torch.manual_seed(1)
    expected = plain(row, query, key, value, dropout)
    expected.square().sum().backward()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    for ours, plainly in zip(got, (query, key, value), strict=True):
        torch.testing.assert_close(ours, plainly.grad, rtol=1e-5, atol=1e-4)


def plain(row: PackedRow, query: Tensor, key: Tensor, value: Tensor, dropout: float) -> Tensor:
    """Attend by segment, with dropout drawn in the same order as the kernel's."""
    table, outputs = SegmentTable.of(row), []
    for own in table.own:
        path = torch.cat([torch.arange(table.own[i].start, table.own[i].stop) for i in own.path])
        q = query[0, :, own.start : own.stop]
        k, v = (each[0][:, path].repeat_interleave(2, 0) for each in (key, value))
        behind = torch.arange(len(path))[None] > torch.arange(own.position, own.num_keys)[:, None]
        weights = (q @ k.transpose(1, 2) * 0.25).masked_fill(behind, -torch.inf).softmax(-1)
        outputs.append(torch.dropout(weights, dropout, train=True) @ v)
    return torch.cat(outputs, 1).transpose(0, 1)[None]


def test_where_nothing_is_shared_keys_are_not_copied(calls: list[Any]):
    row = plan_rows([[TokenSequence.read_at_end([k] * 40)] for k in range(3)], 1000).rows[0]
    query, key, value = states(row, dtype=HALF[1])
    varlen_attention(torch.nn.Module(), query, key, value, SegmentTable.of(row), scaling=0.25)
    ((args, _),) = calls
    assert [each.data_ptr() for each in args[:3]] == [each.data_ptr() for each in (query, key, value)]


def test_gradients_are_deterministic_where_torch_is_asked_for_it(calls: list[Any]):
    row, wanted = row_of(60), torch.are_deterministic_algorithms_enabled()
    query, key, value = states(row, dtype=HALF[1])
    try:
        for is_asked in (False, True):
            torch.use_deterministic_algorithms(is_asked)
            varlen_attention(torch.nn.Module(), query, key, value, SegmentTable.of(row), scaling=0.25)
    finally:
        torch.use_deterministic_algorithms(wanted)
    assert [kwargs["deterministic"] for _, kwargs in calls] == [False, True]


@pytest.mark.parametrize(
    ("installed", "capability", "package", "reason"),
    [
        (None, (9, 0), None, "needs a CUDA GPU and flash-attn 2.6.2 or later"),
        ("2.6.1", (9, 0), SimpleNamespace(flash_attn_varlen_func=None), "flash-attn 2.6.2 or later"),
        ("2.8.3", (7, 5), SimpleNamespace(flash_attn_varlen_func=None), "capability 8.0 or later, got 7.5"),
        ("2.8.3", (8, 0), SimpleNamespace(), "was built for torch"),
        ("2.8.3", (8, 0), SimpleNamespace(flash_attn_varlen_func=None), None),
    ],
)
def test_what_passes_for_flash_attn(
    installed: str | None,
    capability: tuple[int, int],
    package: Any,
    reason: str | None,
    monkeypatch: pytest.MonkeyPatch,
):
    """2.6.1 leaves the softcap out of the gradients."""
    found = "transformers.utils.import_utils"
    monkeypatch.setattr(f"{found}._is_package_available", lambda *_, **__: (installed is not None, installed))
    monkeypatch.setattr(f"{found}._package_distribution_mapping", lambda: {"flash_attn": ["flash-attn"]}, raising=False)
    sys.modules[found].is_flash_attn_greater_or_equal.cache_clear()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setitem(sys.modules, "flash_attn", package)
    found_reason = why_no_flash(CUDA)
    sys.modules[found].is_flash_attn_greater_or_equal.cache_clear()
    assert found_reason is None if reason is None else reason in str(found_reason)


def test_a_folder_of_that_name_does_not_pass(monkeypatch: pytest.MonkeyPatch, tmp_path: Any):
    (tmp_path / "flash_attn").mkdir()
    (tmp_path / "flash_attn" / "__init__.py").write_text("__version__ = '2.8.3'\nflash_attn_varlen_func = None\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "pip install -U flash-attn" in str(why_no_flash(CUDA))
    assert "needs a CUDA GPU" in str(why_no_flash(torch.device("cpu")))
