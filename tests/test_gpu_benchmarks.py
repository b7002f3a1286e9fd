"""What runs on a CUDA card is tried on the CPU, at small size."""

import pytest
import torch

from benchmarks.gpu import attention

CPU = torch.device("cpu")


@pytest.mark.parametrize("precision", attention.PRECISIONS)
def test_a_back_end_that_is_right_is_called_so(precision):
    ((line, is_right),) = attention.check("gemma2", precision, ["gather"], CPU, is_small=True)
    assert is_right
    assert line.endswith("| right |")


def test_a_back_end_that_is_wrong_is_called_so(monkeypatch):
    """It forgets the window."""
    monkeypatch.setattr("benchmarks.gpu.attention.PackedScorer", WithoutWindow)
    ((line, is_right),) = attention.check("gemma2", "fp32", ["gather"], CPU, is_small=True)
    assert not is_right
    assert line.endswith("| WRONG |")


class WithoutWindow(attention.PackedScorer):
    def __init__(self, classifier, backend):
        super().__init__(classifier, backend)
        classifier.config.sliding_window = 10_000


def test_what_does_not_run_here_is_said(capsys):
    assert attention.can_run("gather", CPU)
    assert not attention.can_run("varlen", CPU)
    assert "Not run: attention back-end varlen: needs a CUDA GPU" in capsys.readouterr().out
