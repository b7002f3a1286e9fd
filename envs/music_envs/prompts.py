"""`load_prompts`: where conversations start, from the sandbox or from a file."""

from pathlib import Path

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.registry import SANDBOX, load_built_in

__all__ = ["load_prompts"]


def load_prompts(spec: str | Path, num: int | None = None, seed: int = 0) -> tuple[Conversation, ...]:
    """Return conversations that end with the user.

    Args:
        spec: `sandbox`, or a file, folder or hub id; `:SPLIT` may follow. Preferences give what both sides of a pair
            share. Prompts and conversations are used up to their last user message.
        num: Maximum number; by default 1,000 for the sandbox, and all of a file.
        seed: Seed of the sandbox's requests.

    Raises:
        InvalidInputError: The file cannot be read, or holds no prompt.

    Example:
        >>> from music_envs import load_prompts
        >>> len(load_prompts("sandbox", 8))
        8
    """
    from music.preferences import Seed, read_seeds

    if spec == SANDBOX:
        pairs = load_built_in("seeds", SANDBOX)(1_000 if num is None else num, seed)
        return tuple(Seed.of(pair).request for pair in pairs)
    found = read_seeds(spec, limit=num)
    if not found.seeds:
        raise InvalidInputError(f"{spec}: expected at least one prompt to start from, got none; {found.summary}")
    return tuple(seed.request for seed in found.seeds)
