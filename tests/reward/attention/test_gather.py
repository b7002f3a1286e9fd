import pytest
import torch

from music.reward.attention import SegmentTable
from music.reward.attention.gather import gather_attention
from music.reward.packing import TokenSequence, plan_rows


@pytest.mark.parametrize("softcap", [None, 20.0])
@pytest.mark.parametrize("window", [None, 20])
def test_dropout_drops_weights_and_makes_up_for_it(softcap: float | None, window: int | None):
    """With values of 1, an output is the sum of the weights that are left, over the share of those kept."""
    torch.manual_seed(0)
    (row,) = plan_rows([[TokenSequence.read_at_end([1] * 60 + [k] * 60) for k in (2, 3)]], 1000).rows
    query, key = torch.randn(1, 64, row.num_tokens, 16), torch.randn(1, 8, row.num_tokens, 16)
    options = {"dropout": 0.4, "softcap": softcap, "sliding_window": window}
    found, _ = gather_attention(torch.nn.Module(), query, key, torch.ones_like(key), SegmentTable.of(row), **options)
    assert abs(found.mean() - 1) < 0.02
    first = found[0, 0, :, 0]  # sees itself alone: all or nothing
    assert sorted(set(first.tolist())) == pytest.approx([0, 1 / 0.6])
    assert 0.4 < (first > 0).float().mean() < 0.8
