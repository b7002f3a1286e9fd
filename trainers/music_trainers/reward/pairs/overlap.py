"""Held-out pairs that are trained on, too: what is measured on them is what was learnt by heart."""

from collections.abc import Iterable, Sequence

from music.errors import InvalidInputError
from music.pairs import PreferencePair

__all__ = ["require_apart"]


def require_apart(training: Iterable[PreferencePair], held_out: Sequence[PreferencePair]) -> str | None:
    """Compare pairs by the messages of their sides, whatever their ids and files.

    Returns:
        A sentence for the user if some held-out pairs are training pairs.

    Raises:
        InvalidInputError: All of them are.
    """
    known = {_content(pair) for pair in training}
    num_shared = sum(_content(pair) in known for pair in held_out)
    if held_out and num_shared == len(held_out):
        raise InvalidInputError(
            f"--eval: expected pairs that are not trained on, but all {num_shared} held-out pairs are training pairs, "
            "too: give others, or leave --eval out, and a share of the training pairs is held out (--eval-fraction)"
        )
    if not num_shared:
        return None
    return (
        f"{num_shared} of {len(held_out)} held-out pairs (--eval) are training pairs, too: held-out figures are better "
        "than on new pairs"
    )


def _content(pair: PreferencePair) -> tuple[bytes, bytes]:
    chosen, rejected = (side.model_dump_json().encode() for side in (pair.chosen, pair.rejected))
    return chosen, rejected
