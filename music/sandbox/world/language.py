"""Write acts as English, and read them back.

Every sentence comes from a template (`phrases`) whose slots hold words of the lexicon (`vocabulary`). Reading a user's
sentence replaces those words by their slots and looks up the remaining skeleton. A reply is read by its words alone, so
that a model's replies, which follow no template, can be graded too.
"""

import random
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from music.sandbox.world.phrases import (
    ASKS,
    FEEDBACK,
    GREETINGS,
    MEMORY_ASKS,
    OPENERS,
    QUOTES,
    RECALLS,
    RESOURCES,
    STATEMENTS,
    TIPS,
)
from music.sandbox.world.vocabulary import (
    COUNTS,
    LEXICON,
    NUM_STEPS,
    Ask,
    AskKind,
    Fact,
    MemoryAsk,
    Reply,
    Standing,
    Statement,
    Tip,
    UserAct,
)

__all__ = ["read_reply", "read_statements", "read_user", "write_reply", "write_statement", "write_user"]

_WORD = re.compile(r"[A-Za-z]+")
_SENTENCE_END = re.compile(r"[.?!]+")
_NOUNS = frozenset(("tip", "tips", "idea", "ideas"))
_FACT_NAMES = {fact.value: fact for fact in Fact}


def write_user(act: UserAct, rng: random.Random, opening: str = "") -> str:
    """Render a user message; `opening` (a greeting or a reaction) comes first."""
    ask = _written_ask(act.ask, rng)
    said = [write_statement(s.about, s.value, rng) for s in act.statements]
    parts = [*said, ask] if rng.random() < 0.3 else [ask, *said]
    return " ".join(filter(None, [opening, *parts]))


def _written_ask(ask: Ask, rng: random.Random) -> str:
    """Render a request; a correction begins with a reaction that names the error."""
    if isinstance(ask.kind, MemoryAsk):
        reaction = f"{rng.choice(FEEDBACK[ask.error])} " if ask.error else ""
        steps, turn = ", ".join(ask.steps), COUNTS.get(ask.turn or 0)
        return reaction + rng.choice(MEMORY_ASKS[ask.kind]).format(topic=ask.topic, steps=steps, turn=turn)
    template, count = rng.choice(ASKS[ask.kind]), ""
    if ask.count is not None:
        noun = rng.choice(("tip", "idea"))
        count = f"{COUNTS[ask.count]} {noun}{'' if ask.count == 1 else 's'}"
    return template.format(topic=ask.topic, aspect=ask.aspect, count=count, fact=ask.fact)


def write_statement(about: Standing | Fact, value: str, rng: random.Random) -> str:
    """Render a wish or a fact in the user's words."""
    return rng.choice(STATEMENTS[about]).format(value=value)


@lru_cache(maxsize=1024)
def read_statements(text: str) -> Mapping[Standing | Fact, str]:
    """Read the wishes and facts among the sentences of any text; the last one of each kind counts."""
    found: dict[Standing | Fact, str] = {}
    for words in (words for line in text.splitlines() for words in _sentences(line)):
        skeleton, values = _skeleton(words)
        meaning = _SKELETONS.get(skeleton)
        if isinstance(meaning, Standing | Fact):
            found[meaning] = str(values[meaning.value])
    return found


@lru_cache(maxsize=65536)
def read_user(text: str) -> UserAct | None:
    """Read a user message back, or return None if a part of it is not of this world."""
    asks: list[Ask] = []
    statements: list[Statement] = []
    error: str | None = None
    for words in _sentences(text):
        skeleton, values = _skeleton(words)
        if skeleton not in _SKELETONS:
            return None
        meaning = _SKELETONS[skeleton]
        if isinstance(meaning, AskKind):
            asks.append(_ask(meaning, values))
        elif isinstance(meaning, MemoryAsk):
            asks.append(_memory_ask(meaning, words, values, error))
        elif meaning is not None:
            statements.append(Statement(meaning, str(values[meaning.value])))
        error = _REACTIONS.get(skeleton)
    return UserAct(asks[0], tuple(statements)) if len(asks) == 1 else None


def write_reply(reply: Reply, rng: random.Random) -> str:
    """Render an assistant message."""
    opener = rng.choice(OPENERS)
    parts = [f"{opener}, {reply.name}." if reply.name else f"{opener}."]
    frames = rng.sample(QUOTES if reply.quotes else TIPS, len(reply.tips))
    parts += [frame.format(topic=i.topic, aspect=i.aspect) for frame, i in zip(frames, reply.tips, strict=True)]
    if reply.fact and isinstance(reply.fact.about, Fact):
        parts.append(rng.choice(RECALLS[reply.fact.about]).format(value=reply.fact.value))
    parts += [rng.choice(RESOURCES).format(value=resource) for resource in reply.resources]
    return " ".join([*parts, f"{reply.ending}."] if reply.ending else parts)


@lru_cache(maxsize=65536)
def read_reply(text: str) -> Reply:
    """Read a reply from its words; a sentence that names a topic or an aspect is a tip."""
    tips: list[Tip] = []
    found: dict[str, list[str]] = {}
    ending = None
    for words in _sentences(text):
        _, values = _skeleton(words)
        if "topic" in values or "aspect" in values:
            tips.append(Tip(_text(values.get("topic")), _text(values.get("aspect"))))
        for slot, value in values.items():
            found.setdefault(slot, []).append(str(value))
        ending = _text(values.get(Standing.END.value)) if len(words) == 1 else None
    fact = next((Statement(fact, found[fact.value][0]) for fact in Fact if fact.value in found), None)
    name = found.get(Standing.ADDRESS.value, [None])[0]
    return Reply(tuple(tips), fact, name, tuple(found.get(Standing.AVOID.value, ())), ending)


def _sentences(text: str) -> Iterator[list[str]]:
    """Split a text into sentences of words."""
    return filter(None, (_WORD.findall(part) for part in _SENTENCE_END.split(text)))


def _skeleton(words: Iterable[str]) -> tuple[str, dict[str, str | int]]:
    """Replace the words of the lexicon by their slots; return the rest and the slots' values."""
    kept: list[str] = []
    values: dict[str, str | int] = {}
    for word in map(str.lower, words):
        if slot_value := LEXICON.get(word):
            values[slot_value[0]] = slot_value[1]
            kept.append("{" + slot_value[0] + "}")
        elif word in _FACT_NAMES:
            values["fact"] = word
            kept.append("{fact}")
        elif word not in _NOUNS:
            kept.append(word)
    return " ".join(kept), values


def _ask(kind: AskKind, values: dict[str, str | int]) -> Ask:
    """Return the ask with the values of its sentence."""
    count = values.get("count")
    fact = _FACT_NAMES[str(values["fact"])] if "fact" in values else None
    return Ask(kind, _text(values.get("topic")), _text(values.get("aspect")), int(count) if count else None, fact)


def _memory_ask(kind: MemoryAsk, words: list[str], values: dict[str, str | int], error: str | None) -> Ask:
    """Return the ask of a user with memory; `error` is what the sentence before it points out."""
    if kind is MemoryAsk.CORRECTION:
        return Ask(kind, error=error)
    turn = values.get("count")
    slots = [LEXICON.get(word.lower(), ("", "")) for word in words]
    steps = tuple(str(value) for slot, value in slots if slot == "aspect")
    return Ask(kind, _text(values.get("topic")), turn=int(turn) if turn else None, steps=steps)


def _text(value: str | int | None) -> str | None:
    """Return a slot's value as text."""
    return None if value is None else str(value)


def _known_skeletons() -> dict[str, AskKind | MemoryAsk | Standing | Fact | None]:
    """Return the meaning of every user sentence by its skeleton; None for greetings and reactions."""
    known: dict[str, AskKind | MemoryAsk | Standing | Fact | None] = {}
    for kind, templates in ASKS.items():
        for template in templates:
            known[_bare(template)] = kind
    for asked, templates in MEMORY_ASKS.items():
        for template in templates:
            bare = _bare(template).replace("{turn}", "{count}")
            known |= {bare.replace("{steps}", " ".join(["{aspect}"] * num)): asked for num in NUM_STEPS}
    for about, templates in STATEMENTS.items():
        for template in templates:
            known[_bare(template).replace("{value}", "{" + about.value + "}")] = about
    for template in (*GREETINGS, *(reaction for reactions in FEEDBACK.values() for reaction in reactions)):
        known[_bare(template)] = None
    return known


def _bare(template: str) -> str:
    """Return the skeleton of a template's sentences."""
    return " ".join(re.findall(r"\{[a-z]+\}|[a-z]+", template.lower()))


_SKELETONS = _known_skeletons()
_REACTIONS = {_bare(text): error for error, reactions in FEEDBACK.items() if error for text in reactions}
"""The error that each reaction points out."""
