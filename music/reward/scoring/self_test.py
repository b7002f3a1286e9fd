"""The self-test of a model: whether packed rows give the scores of its plain forward passes.

transformers has some hundred architectures and gains several a month, so no list of rules about them stays complete. A
window that only the mask contains, frequencies that depend on the longest sequence, or a layer that attends twice
silently give wrong scores. So before it scores anything, every model is tested. `probe` compares scores of a few random
sequences with the model's own forward passes, on the device, in the dtype and with the attention back-end in use.
Passed tests are cached by weights and versions.
"""

import hashlib
import logging
import os
import threading
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import orjson
import torch
import transformers
from torch import Tensor
from transformers import PreTrainedModel

from music.reward.attention import PackedAttentionError
from music.reward.scoring.forward import PackedScorer
from music.reward.scoring.probe import measure_errors

__all__ = ["make_scorer", "require_exact", "settle_backend"]

logger = logging.getLogger(__name__)

_LOCK = threading.Lock()
"""A test switches the attention of its model, so two threads must not test one model at the same time."""
_TOLERANCE, _ROUGH_TOLERANCE = 1e-4, 0.1
"""Bounds on the errors of `measure_errors`, in fp32 and in types of 16 bits or TF32. Rounding alone gives 1e-6 and
0.03. Faults in all layers give about 1. Those in one of 30 layers give 2e-4 or more in fp32, and as little as rounding
in bf16."""
_FAILURES = (RuntimeError, ValueError, TypeError, AttributeError, KeyError, IndexError, AssertionError)
"""Errors that layers raise on rows of an unexpected form, and kernels on unsupported input."""


def make_scorer(classifier: PreTrainedModel, backend: str | None = None) -> PackedScorer:
    """Return a scorer in eval mode that has passed the self-test.

    Args:
        classifier: The model, on its device.
        backend: Back-end of attention. By default the fastest here, or `gather` if that one fails the test.

    Raises:
        PackedAttentionError: The model cannot be packed, or fails the test.
    """
    scorer = PackedScorer(classifier, backend).eval()
    settle_backend(scorer, is_chosen=backend is not None)
    return scorer


def settle_backend(scorer: PackedScorer, *, is_chosen: bool = False) -> None:
    """Test a model, and switch it to `gather` if another back-end fails.

    Args:
        scorer: The model; it keeps its mode.
        is_chosen: Whether the user chose the back-end, so that no other may replace it.

    Raises:
        PackedAttentionError: It fails the test.
    """
    try:
        with _LOCK:
            require_exact(scorer)
    except PackedAttentionError as error:
        if is_chosen or scorer.backend == "gather":
            raise
        logger.warning("attention gather is used in place of %s, which fails the self-test: %s", scorer.backend, error)
        with _LOCK:
            scorer.use("gather")
            require_exact(scorer)


def require_exact(scorer: PackedScorer) -> None:
    """Test a model, unless the cache says that it has passed.

    Raises:
        PackedAttentionError: Its scores would be wrong, or it cannot be packed at all.
    """
    cache_home = os.environ.get("XDG_CACHE_HOME")
    passed = (Path(cache_home) if cache_home else Path.home() / ".cache") / "music-rm" / "self-tests" / _key(scorer)
    if passed.exists():
        return
    name, tolerance = type(scorer.classifier).__name__, _tolerance(scorer.classifier)
    try:
        errors = measure_errors(scorer)
    except (PackedAttentionError, torch.OutOfMemoryError):
        raise
    except _FAILURES as error:
        why = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise PackedAttentionError(f"{name} cannot be packed: its forward pass fails on packed rows ({why})") from error
    wrong = [f"{what} by {error:.2g}" for what, error in errors.items() if not error <= tolerance]
    if wrong:
        raise PackedAttentionError(
            f"{name} fails the self-test: scores of sequences differ from those of its own forward pass, "
            f"{', '.join(wrong)} of their standard deviation (tolerance {tolerance}, attention {scorer.backend}). It "
            "would be scored wrong, so it is refused: report the architecture, or use another model"
        )
    try:
        passed.parent.mkdir(parents=True, exist_ok=True)
        passed.touch()
    except OSError as error:
        logger.debug("the passed self-test is not cached: %s", error)


def _compute_dtype(classifier: PreTrainedModel) -> torch.dtype:
    kind = classifier.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else classifier.dtype


def _tolerance(classifier: PreTrainedModel) -> float:
    is_tf32 = classifier.device.type == "cuda" and torch.get_float32_matmul_precision() != "highest"
    is_exact = _compute_dtype(classifier).itemsize >= 4 and not is_tf32
    return _TOLERANCE if is_exact else _ROUGH_TOLERANCE


def _key(scorer: PackedScorer) -> str:
    """Return a hash of model, weights, device, dtype, back-end and versions."""
    classifier = scorer.classifier
    device = classifier.device
    place = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    settings = (place, str(classifier.dtype), str(_compute_dtype(classifier)), scorer.backend)
    versions = (_own_version(), torch.__version__, transformers.__version__, _flash_version())
    config = {name: value for name, value in classifier.config.to_dict().items() if name != "_name_or_path"}
    digest = hashlib.sha256(repr((settings, versions)).encode())
    digest.update(orjson.dumps(config, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS))
    for name, weight in classifier.named_parameters():
        if not name.startswith("score."):
            digest.update(f"{name} {tuple(weight.shape)} {_sample(weight)}".encode())
    return digest.hexdigest()


@cache
def _own_version() -> str:
    """Return a hash of the code of `music.reward`, because a test of other code proves nothing."""
    files = sorted(Path(__file__).parents[1].rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


@cache
def _flash_version() -> str | None:
    """Return the version of flash-attn, whose kernels are not torch's."""
    try:
        return version("flash-attn")
    except PackageNotFoundError:
        return None


def _sample(weight: Tensor) -> list[float]:
    """Return a few of a weight's numbers: enough to distinguish checkpoints, and quick to read."""
    flat = weight.detach().reshape(-1)
    taken: list[float] = flat[:: max(1, len(flat) // 16)][:16].float().tolist()
    return taken
