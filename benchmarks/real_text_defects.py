"""Pairs with one worse reply, made from real dialogues without a model.

Both sides are the same dialogue, except for one assistant turn of the rejected side. Its reply is one of:

- `swap`: a real reply to a similar request of another dialogue, as `music swap` finds it;
- `repeat`: the assistant's reply in the turn before, again;
- `truncate`: the first half of its words.
"""

import random
import re
from collections.abc import Iterator, Mapping, Sequence

from music.conversation import Conversation, Message
from music.pairs import PreferencePair
from music.seeding import derive_seed

__all__ = ["KINDS", "draw_defects", "replies", "truncated", "worse_replies"]

KINDS = ("swap", "repeat", "truncate")
MIN_WORDS = 12
"""Words of the shortest reply that is truncated."""


def replies(conversation: Conversation) -> list[str]:
    """Return the assistant's reply in each turn."""
    return [conversation.messages[end - 1].content for end in conversation.turn_ends]


def truncated(reply: str) -> str:
    """Return the first half of a reply's words; "" if it has fewer than `MIN_WORDS`."""
    words = list(re.finditer(r"\S+", reply))
    return reply[: words[len(words) // 2 - 1].end()] if len(words) >= MIN_WORDS else ""


def worse_replies(dialogue: Conversation, swapped: Conversation) -> dict[str, list[str]]:
    """Return the replies of each kind, one for each turn: "", or the dialogue's own, if a turn has none.

    Args:
        dialogue: A dialogue.
        swapped: The same dialogue with the replies to similar requests wherever there are any.
    """
    own = replies(dialogue)
    return dict(zip(KINDS, (replies(swapped), ["", *own[:-1]], [truncated(reply) for reply in own]), strict=True))


def draw_defects(
    dialogues: Mapping[str, Conversation], swapped: Mapping[str, Conversation], seed: int
) -> Iterator[tuple[str, PreferencePair | None]]:
    """Yield each kind with the pair of each dialogue, in one turn that is drawn among those that can have the defect.

    Args:
        dialogues: Dialogues by id. Those of a single turn are left out.
        swapped: The same dialogues with other replies; some may be missing.
        seed: Seed of the draws.

    Yields:
        The kind, and the pair; None if no turn can have the defect.
    """
    for id, dialogue in dialogues.items():
        if dialogue.num_turns > 1:
            for kind, texts in worse_replies(dialogue, swapped.get(id, dialogue)).items():
                yield kind, _draw(id, kind, dialogue, texts, seed)


def _draw(id: str, kind: str, dialogue: Conversation, texts: Sequence[str], seed: int) -> PreferencePair | None:
    """Return the pair of one dialogue and kind, if there is one."""
    own = replies(dialogue)
    possible = [turn for turn, text in enumerate(texts) if text.strip() and text != own[turn]]
    if not possible:
        return None
    turn = random.Random(derive_seed(seed, kind, id)).choice(possible)
    messages = list(dialogue.messages)
    messages[dialogue.turn_ends[turn] - 1] = Message(role="assistant", content=texts[turn])
    rejected = Conversation(messages=tuple(messages))
    return PreferencePair(id=f"{id}/{kind}", source=kind, chosen=dialogue, rejected=rejected)
