"""The self-test: whether packed rows of this very model score as plain forward passes do, before any score is given.

transformers has some hundred architectures and grows by several a month. Rules about them cannot keep up: a window that
is in the mask alone, frequencies that depend on the longest sequence, a layer that attends twice give scores that are
wrong without a sign. So a few random sequences are scored packed, one by one, and behind a cache, and compared with the
model's own forward passes, on the device, in the dtype and by the attention back-end in use. Window and rope boundary
are narrowed meanwhile, so that short sequences cross them. A model that passed is remembered, by weights and versions.
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
"""A model that is tested attends in other ways meanwhile: threads must not test one at the same time."""
_TOLERANCE, _ROUGH_TOLERANCE = 1e-4, 0.1
"""Of errors as `measure_errors` gives them, in fp32 and in types of 16 bits, TF32 among them. Rounding alone gives 1e-6
and 0.03. Faults in all layers give about 1; those in one layer of 30 from 2e-4 in fp32, and as little as rounding in
bf16."""
_FAILURES = (RuntimeError, ValueError, TypeError, AttributeError, KeyError, IndexError, AssertionError)
"""What layers raise on rows of another form than they expect, and kernels on what they are not made for."""


def make_scorer(classifier: PreTrainedModel, backend: str | None = None) -> PackedScorer:
    """Return a scorer that has passed the self-test, in eval mode.

    Args:
        classifier: On its device.
        backend: Of attention. By default the fastest here, or `gather` where that one fails the test.

    Raises:
        PackedAttentionError: The model cannot be packed, or fails the test.
    """
    scorer = PackedScorer(classifier, backend).eval()
    settle_backend(scorer, is_chosen=backend is not None)
    return scorer


def settle_backend(scorer: PackedScorer, *, is_chosen: bool = False) -> None:
    """Test a model; let it attend by `gather` where another back-end fails.

    Args:
        scorer: It keeps its mode.
        is_chosen: Whether the back-end was asked for, so that another one will not do.

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
    """Test a model, unless it is known to have passed.

    Raises:
        PackedAttentionError: Its scores would be wrong, or it cannot be packed at all.
    """
    passed = _folder() / _key(scorer)
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
        logger.debug("the self-test is not remembered: %s", error)


def _compute_dtype(classifier: PreTrainedModel) -> torch.dtype:
    kind = classifier.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else classifier.dtype


def _tolerance(classifier: PreTrainedModel) -> float:
    is_tf32 = classifier.device.type == "cuda" and torch.get_float32_matmul_precision() != "highest"
    is_exact = _compute_dtype(classifier).itemsize >= 4 and not is_tf32
    return _TOLERANCE if is_exact else _ROUGH_TOLERANCE


def _folder() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "music-rm" / "self-tests"


def _key(scorer: PackedScorer) -> str:
    """Return what names model, weights, device, dtype, back-end and versions."""
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
    """Return a hash of this package's code: what passed by other code proves nothing."""
    files = sorted(Path(__file__).parents[1].rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


@cache
def _flash_version() -> str | None:
    """Return the version of the kernels that torch does not bring itself."""
    try:
        return version("flash-attn")
    except PackageNotFoundError:
        return None


def _sample(weight: Tensor) -> list[float]:
    """Return a few of a weight's numbers: enough to tell checkpoints apart, and nothing to read."""
    flat = weight.detach().reshape(-1)
    taken: list[float] = flat[:: max(1, len(flat) // 16)][:16].float().tolist()
    return taken
