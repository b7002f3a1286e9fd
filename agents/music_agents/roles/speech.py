"""Who seems to speak in a message: a user who asks, an assistant who answers, or a program that ends the call.

English phrases decide. All functions but those of stop marks take the result of `plain`.
"""

import re
from functools import lru_cache

__all__ = ["asks", "first_of", "plain", "speaks_as_assistant", "stop_mark", "without_stop_marks"]

MIN_ADVICE_CHARS = 40
"""From this length on, a message that begins by telling the reader what to do is an answer."""
MIN_LECTURE_CHARS = 120
"""From this length on, a statement about no one's own affairs is an answer."""

# Typographic apostrophes and spaces, and invisible letters.
_UNSEEN = [0xAD, 0x34F, 0x61C, 0x180E, 0x2800, 0x3164, 0xFEFF, *range(0x200B, 0x2010), *range(0x202A, 0x202F)]
_UNSEEN += range(0x2060, 0x2070)
_AS_TYPED: dict[int, str | None] = {
    **dict.fromkeys(map(ord, "‘’ʼ′＇"), "'"),
    **dict.fromkeys(map(ord, "“”„"), '"'),
    **dict.fromkeys(map(ord, "\xa0\u202f"), " "),
    **dict.fromkeys(_UNSEEN, None),
}

_TALK = r"(?:conversation|chat|dialog(?:ue)?|session)"
_STOP = (
    rf"(?:stop|end|done|exit|quit|finish(?:ed)?|terminated?"
    rf"|(?:end|stop|terminate|exit)[ _-]?(?:of[ _-]?)?(?:the[ _-]?)?{_TALK}"
    rf"|{_TALK}[ _-]?(?:is[ _-]?)?(?:over|ended|end|finished|completed?))"
)
_STOP_MARK = re.compile(
    # Marks that have no other purpose,
    rf"\#{{2,}} ?{_STOP} ?\#{{2,}}|\[\[ ?{_STOP} ?\]\]|< ?\| ?{_STOP} ?\|>"
    rf"|(?-i:\b(?:TERMINATE|END|EXIT|STOP)_(?:THE_)?(?:CONVERSATION|CHAT|DIALOG(?:UE)?|SESSION)\b)"
    # and marks that end a conversation only at the end of a line.
    rf"|(?:(?<!\S)[\[<]/?{_STOP}[\]>]|(?<!\S)(?-i:TERMINATE)|(?:^|(?<=[.!?] ))/(?:end|stop|exit|quit|done|bye))"
    r"(?=[.!\s]*$)",
    re.IGNORECASE | re.MULTILINE,
)

_ORDERS = (
    "add|advise|analy[sz]e|answer|arrange|assess|break|build|calculate|change|check|choose|clarify|classify|come up"
    "|compare|complete|compose|compute|condense|continue|convert|correct|count|create|cut|define|describe|design"
    "|determine|discuss|draft|draw|elaborate|estimate|evaluate|expand|explain|express|extend|extract|fill|find|finish"
    "|fix|focus|format|generate|get|give|go|guess|guide|help|identify|imagine|include|instead|keep|leave|list|look|make"
    "|mention|modify|name|offer|order|organi[sz]e|outline|paraphrase|pick|plan|predict|prepare|present|prove|provide|put"
    "|rank|rate|read|recommend|reduce|reformat|remind|remove|repeat|rephrase|replace|reply|respond|restate|revise"
    "|rewrite|rework|same|say|search|select|share|shorten|show|simplify|skip|solve|sort|speak|spell|split|start|state"
    "|stick|stop|suggest|summari[sz]e|swap|switch|take|talk|teach|tell|test|think|transform|translate|try|turn|update"
    "|use|walk|watch|write|any|anything|more|another|again"
)
_AUXILIARIES = "is|are|was|were|am|do|does|did|has|have|had|can|could|would|will|should|shall|may|might"
_ASKS_ANYWHERE = re.compile(
    r"[?？؟]|\b(?:please|pls|plz|kindly"
    r"|i(?: woul|')d (?:like|love|prefer|rather|appreciate)|i(?: (?:really|also|just|only|still))? (?:want|need|wish"
    r"|wonder)|i(?:'m| am) (?:looking for|curious|interested in|wondering|talking about|asking)|we (?:want|need)"
    r"|help me|tell me|show me|give me|teach me|can you|could you|would you|will you|what about|how about"
    r"|don't know (?:how|what|which|where|who|why)|not sure (?:how|what|which)|i meant|my question|same for)\b"
)
_ASKS_AT_ONCE = re.compile(
    r"\W*(?:(?:and|but|so|ok(?:ay)?|now|then|also|thanks|thank you|great|yes|no|well|hey|hi|alright|good|nice|sure"
    r"|first|finally|actually|lastly|fine|right|cool|perfect|oh|just)\b[,!.]?\s+){0,3}"
    rf"(?:(?:[^,.\n]{{1,60}},\s+)?(?:{_ORDERS})|how|what|what's|why"
    rf"|(?:where|when|which|who|whom|whose)\s+(?:{_AUXILIARIES})|{_AUXILIARIES})\b"
)
_SENTENCE_ENDS = re.compile(r"[.!:;\n]+\s*")
_LETTERS = re.compile(r"[^\W\d_]")

_OWN_AFFAIRS = re.compile(r"\b(?:i|i'[a-z]+|me|my|mine|myself|we|us|our|please)\b")
_OFFERS = (
    "how can i help you",
    "how may i help you",
    "how can i assist",
    "how may i assist",
    "i can help you with",
    "if you have any questions",
    "if you have any other questions",
    "if you have any more questions",
    "let me know if you have any",
    "let me know if you need",
    "let me know if you'd like",
    "let me know if you want",
    "feel free to ask",
    "feel free to reach out",
    "hope this helps",
    "hope that helps",
    "hope this meets your",
    "hope this answers your",
    "i'm here to help",
    "i am here to help",
    "i'm here to assist",
    "is there anything else i can",
    "is there anything else you",
    "happy to help",
    "happy to assist",
    "glad to help",
    "glad i could help",
    "as an ai, i",
    "as an ai language model",
    "as an ai assistant, i",
    "as a language model, i",
    "as a chatbot",
    "i'm an ai ",
    "i am an ai ",
    "i'm just an ai",
    "i'm a language model",
    "i don't have personal",
    "i do not have personal",
    "i cannot provide",
    "i can't provide",
    "the user wants",
    "the user is asking",
)
# Every offer holds one of these; to search for them first costs a third.
_OFFER_HINTS: tuple[str, ...] = ("help", "assist", "if you", " ai", "model", "chatbot", "else ", "feel free", "provide")
_OFFER_HINTS += ("personal", "the user ", "hope this")
_OPENINGS = re.compile(
    r"\W*(?:"
    r"(?:sure|certainly|of course|absolutely|definitely|gladly)\b\W+(?:here|i can|i'd|i would|i'll|let me|let's|you can"
    r"|the|this|that's|to)\b"
    r"|here(?:'s| is| are)\b(?! (?:my|our|what i|the (?:text|code|paragraph|sentence|article|data|list|passage|email)))"
    r"|(?:i'm|i am) (?:so |very |really )?(?:glad|happy|pleased|delighted|excited) (?:that )?(?:you|to (?:hear|help"
    r"|assist|know|see|provide|answer|explain|share))"
    r"|(?:i'm|i am) sorry,? (?:but |for (?:any|the) |to hear |if |you)|i apologi[sz]e|my apologies"
    r"|(?:that's|that is|it's|it is|what) (?:a |an )?(?:really |very )?(?:great|good|excellent|wonderful|fantastic"
    r"|amazing|interesting|important|common|fascinating) (?:question|point|observation|choice|example|summary|that you"
    r"|to hear)"
    r"|(?:great|good|excellent) (?:question|choice|point|observation)\b"
    r"|thank you for (?:your|asking|sharing|reaching|providing|clarifying|the (?:information|additional|details))"
    r"|you're welcome|you are welcome|you're (?:absolutely )?(?:right|correct)[.,!] (?!but|so|what|can|how|i)"
    r"|you are (?:absolutely )?(?:right|correct)[.,!] (?!but|so|what|can|how|i)"
    r"|it (?:sounds|seems) like you|i understand that you|i see that you|i understand your"
    r"|as (?:an ai|a language model),? i\b"
    r")"
)
_ADVICE = re.compile(
    r"\W*(?:you (?:can|could|might want to|may want to|should consider|may also)|(?:yes|no), you (?:can|could|should)"
    r"|to \w+ [^.!\n]{1,80}, you (?:can|could|should|will need|need)|consider \w+ing)\b"
)
_OBLIGING = re.compile(r"\W*(?:sure|certainly|of course|absolutely|definitely|gladly)\b")


@lru_cache(maxsize=16)  # each gate asks
def plain(text: str) -> str:
    """Return a text in lower case, with plain quotes and spaces and without invisible letters."""
    return (text if text.isascii() else text.translate(_AS_TYPED)).lower().strip()


def asks(lower: str) -> bool:
    """Whether a user asks for something; assumed for a text without Latin letters."""
    return _wishes(lower) or not _is_latin(lower)


def speaks_as_assistant(lower: str) -> str:
    """Return the reason why a message looks like an assistant's; empty if it does not."""
    if first_of(_OFFER_HINTS, lower) and (found := first_of(_OFFERS, lower)):
        return f"the user speaks as the assistant: {found!r}"
    if opening := _OPENINGS.match(lower):
        return f"the user opens as the assistant would: {opening[0].strip()!r}"
    if "?" in lower or len(lower) < MIN_ADVICE_CHARS or not _is_latin(lower):
        return ""
    is_long, is_own = len(lower) >= MIN_LECTURE_CHARS, bool(_OWN_AFFAIRS.search(lower))
    if _ADVICE.match(lower) and not is_own:
        return "the user gives advice, as the assistant would"
    if is_long and (_OBLIGING.match(lower) or not (is_own or _wishes(lower))):
        return "the user answers at length, as the assistant would"
    return ""


def stop_mark(text: str) -> str:
    """Return the mark with which a message ends the conversation; empty if there is none."""
    found = _STOP_MARK.search(text) if _may_hold_mark(text) else None
    return found[0] if found else ""


def without_stop_marks(text: str) -> str:
    """Return a message without the marks that end the conversation."""
    return (_STOP_MARK.sub("", text) if _may_hold_mark(text) else text).strip()


def first_of(phrases: tuple[str, ...], lower: str) -> str:
    """Return the first of the phrases that a text holds; empty for none."""
    for phrase in phrases:
        if phrase in lower:
            return phrase
    return ""


def _may_hold_mark(text: str) -> bool:
    return "[" in text or "<" in text or "#" in text or "/" in text or "_" in text or "TERMINATE" in text


def _wishes(lower: str) -> bool:
    """Whether a text asks: by a phrase anywhere, or by how its first or its last sentence begins."""
    if _ASKS_ANYWHERE.search(lower) or _ASKS_AT_ONCE.match(lower):
        return True
    *_, last = _SENTENCE_ENDS.split(lower.rstrip(" .!;:\n"))
    return bool(_ASKS_AT_ONCE.match(last))


def _is_latin(text: str) -> bool:
    """Whether most letters of a text are of the Latin alphabet."""
    letters = "" if text.isascii() else "".join(_LETTERS.findall(text[:500]))
    return sum(letter < "\u0250" for letter in letters) * 2 >= len(letters)
