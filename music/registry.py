"""Built-in objects by kind and name.

The libraries refer to the sandbox only by these names, and import it only when one of them is used.
"""

from pkgutil import resolve_name
from typing import Any, Literal

__all__ = ["BUILT_IN", "ORACLE", "SANDBOX", "BuiltInKind", "load_built_in"]

SANDBOX = "sandbox"
"""The built-in world: its models, seeds, users and two small checkpoints."""
ORACLE = "oracle"
"""The true grades of the built-in world."""

BuiltInKind = Literal["seeds", "personas", "judge", "reward", "language_model", "reward_model"]

BUILT_IN: dict[tuple[BuiltInKind, str], str] = {
    ("seeds", SANDBOX): "music.sandbox.world.seeds:seed_pairs",
    ("personas", SANDBOX): "music.sandbox.world.players:persona_sentences",
    ("judge", ORACLE): "music.sandbox.world.oracle:oracle_choice",
    ("reward", ORACLE): "music.sandbox.world.oracle:oracle_score",
    ("language_model", SANDBOX): "music.sandbox.artifacts:BACKBONE",
    ("reward_model", SANDBOX): "music.sandbox.artifacts:REWARD_MODEL",
}


def load_built_in(kind: BuiltInKind, name: str) -> Any:
    """Import the built-in object of a kind and name.

    Args:
        kind: `seeds` (a function from a number and a seed to pairs), `personas` (from a conversation and a seed to a
            user's statements), `judge` (from two conversations to a `Choice`), `reward` (a `RewardFunction`),
            `language_model` or `reward_model` (a checkpoint's path).
        name: `SANDBOX` or `ORACLE`.

    Example:
        >>> load_built_in("reward", ORACLE).__name__
        'oracle_score'
    """
    return resolve_name(BUILT_IN[kind, name])
